# Compares models that somebody has downloaded with values that were published of
# them: check_models.pl TABLE DIRECTORY.  TABLE is published_values.json or one
# like it.  A model ORGANISATION/NAME is looked for as NAME, ORGANISATION__NAME
# and ORGANISATION/NAME in DIRECTORY.  One that is not there is said to be so; none
# there is a failure.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Scalar::Util 'looks_like_number';
use Test::More;
use PgSemantic::TestServer;

my ($table, $directory) = @ARGV;
die "usage: check_models.pl TABLE DIRECTORY\n" unless defined $directory;

# Where a model of one of the names lies, or undef.
sub find_model
{
	my (@names) = @_;
	foreach my $name (@names)
	{
		my ($last) = $name =~ m{([^/]+)$};
		foreach my $place ($last, $name =~ s{/}{__}r, $name)
		{
			return "$directory/$place" if -e "$directory/$place/config.json";
		}
	}
	return undef;
}

# The fields of the rows agree; numbers to the tolerance, relative above 1.
sub same_rows
{
	my ($found, $expected, $tolerance) = @_;
	return 0 unless @$found == @$expected;
	foreach my $row (0 .. $#$expected)
	{
		return 0 unless @{ $found->[$row] } == @{ $expected->[$row] };
		foreach my $column (0 .. $#{ $expected->[$row] })
		{
			my ($value, $wanted) = ($found->[$row][$column], $expected->[$row][$column]);
			if (looks_like_number($wanted) && looks_like_number($value))
			{
				my $scale = abs($wanted) > 1 ? abs($wanted) : 1;
				return 0 unless abs($value - $wanted) <= $tolerance * $scale;
			}
			else
			{
				return 0 unless $value eq $wanted;
			}
		}
	}
	return 1;
}

sub in_lines { return join("\n", map { '  ' . join(' | ', @$_) } @{ $_[0] }); }

# One test for loading the model, and one for each thing published of it.
sub check_model
{
	my ($node, $name, $path, $checks) = @_;
	my @variables = (extra_params => [ '-v', "model=$name", '-v', "path=$path" ]);
	my ($status, undef, $err) = $node->psql('postgres', "SELECT semantic_load_model(:'model', :'path')", @variables);
	is($status, 0, "$name is loaded") or return diag($err);
	foreach my $check (@$checks)
	{
		my ($query_status, $out, $query_err) = $node->psql('postgres', $check->{query}, @variables);
		my @found = map { [ split /\|/, $_, -1 ] } split /\n/, $out;
		ok($query_status == 0 && same_rows(\@found, $check->{rows}, $check->{tolerance} // 1.5e-4), "$name: $check->{source}")
		  or diag("$check->{query}\nfound\n" . in_lines(\@found) . "\n$query_err\npublished\n" . in_lines($check->{rows}));
	}
	return;
}

my $models = decode_json(slurp_file($table))->{models};
my $node = new_server('check_models');
my $there = 0;
foreach my $model (@$models)
{
	my ($name) = @{ $model->{names} };
	my $path = find_model(@{ $model->{names} });
	if (defined $path)
	{
		$there++;
		check_model($node, $name, $path, $model->{checks});
	}
	else
	{
		diag("NOT THERE: $name");
	}
}
cmp_ok($there, '>=', 1, 'at least one model is there') or diag("there is none in $directory");
diag("compared $there of " . scalar(@$models) . ' models with what was published of them');
$node->stop;
done_testing();
