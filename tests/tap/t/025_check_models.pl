# The harness behind `make check-models`: what it compares with agrees and differs
# where it should.  The models are conformance checkpoints under names of the real
# ones, the values those of the independent reference.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use PgSemantic::TestServer;

if (!defined model_path('distilbert-sst2'))
{
	diag('SKIP: no conformance data');
	plan skip_all => 'SKIP: no conformance data';
}

my $directory = "$PostgreSQL::Test::Utils::tmp_check/check_models";
mkdir $directory;

my $runs = 0;

# A directory of models: place => conformance checkpoint.
sub place_models
{
	my ($name, %models) = @_;
	mkdir "$directory/$name";
	foreach my $place (sort keys %models)
	{
		my $path = "$directory/$name";
		my @parts = split m{/}, $place;
		my $last = pop @parts;
		foreach my $part (@parts) { $path .= "/$part"; mkdir $path; }
		symlink(model_path($models{$place}), "$path/$last") or die "symlink: $!";
	}
	return "$directory/$name";
}

sub check_models
{
	my ($table, $models) = @_;
	my ($out, $err);
	# Servers of a run that fails stay; each run has a place of its own.
	local $ENV{TESTDIR} = $directory . '/run_' . $runs++;
	local $ENV{TESTDATADIR} = "$ENV{TESTDIR}/tmp_check";
	local $ENV{TESTLOGDIR} = "$ENV{TESTDATADIR}/log";
	mkdir $ENV{TESTDIR};
	my $passed = IPC::Run::run([ $^X, 'check_models.pl', $table, $models ], '>', \$out, '2>', \$err);
	return ($passed, "$out$err");
}

sub expected
{
	my ($model) = @_;
	return decode_json(slurp_file("$ENV{PG_SEMANTIC_SHARED}/conformance/expected/$model.json"));
}

sub quoted { return "'" . ($_[0] =~ s/'/''/gr) . "'"; }

# A table of our own from the reference's numbers, and the same with one of them changed.
my $classified = expected('distilbert-sst2')->{classify}[0];
my $reranked = expected('bert-cross-encoder')->{rerank}[0];
my $documents = 'ARRAY[' . join(', ', map { quoted($_) } @{ $reranked->{documents} }) . ']';
my @models = (
	{
		names => ['somebody/classifier'],
		checks => [ {
			source => 'reference',
			query => 'SELECT label, score FROM semantic_classify(' . quoted($classified->{text}) . ", :'model')",
			rows => $classified->{labels} } ] },
	{
		names => ['somebody/reranker'],
		checks => [ {
			source => 'reference',
			query => 'SELECT ordinal, score FROM semantic_rerank(' . quoted($reranked->{query}) . ", $documents, :'model') LIMIT 2",
			rows => [ @{ $reranked->{scores} }[ 0, 1 ] ] } ] },
	{ names => [ 'somebody/absent', 'nobody/absent' ], checks => [] });

sub table
{
	my ($name) = @_;
	my $file = "$directory/$name.json";
	append_to_file($file, encode_json({ models => \@models }));
	return $file;
}
my $right = table('right');
$models[1]{checks}[0]{rows}[1][1] += 0.001;
my $wrong = table('wrong');

my %both = (classifier => 'distilbert-sst2', somebody__reranker => 'bert-cross-encoder');
my ($passed, $output) = check_models($right, place_models('both', %both));
ok($passed, 'values that agree pass') or diag($output);
like($output, qr/NOT THERE: somebody\/absent/, 'a model that is not there is told');
like($output, qr/compared 2 of 3 models/, 'and the number of those that are');

($passed, $output) = check_models($right, place_models('nested', 'somebody/classifier' => 'distilbert-sst2'));
ok($passed, 'organisation/name is found') or diag($output);

($passed, $output) = check_models($wrong, "$directory/both");
ok(!$passed, 'a number that differs by 0.001 fails');
like($output, qr/not ok.*somebody\/reranker: reference/, 'and is told');

($passed, $output) = check_models($right, place_models('other', classifier => 'bert-emotions'));
ok(!$passed, 'another model under the name fails');

($passed, $output) = check_models($right, place_models('empty'));
ok(!$passed, 'no model at all fails');
like($output, qr/not ok.*at least one model/, 'and is told');

mkdir "$directory/broken";
mkdir "$directory/broken/classifier";
append_to_file("$directory/broken/classifier/config.json", '{');
($passed, $output) = check_models($right, "$directory/broken");
ok(!$passed, 'a model that cannot be loaded fails');
like($output, qr/not ok.*somebody\/classifier is loaded/, 'and is told');

# The table that is shipped: every model of it, as a checkpoint with random weights, runs and differs.
my $published = decode_json(slurp_file('published_values.json'));
my %stand_ins = (
	'all-MiniLM-L6-v2' => 'st-minilm',
	'multi-qa-distilbert-cos-v1' => 'st-cls-mean',
	'ms-marco-MiniLM-L-6-v2' => 'bert-cross-encoder',
	'distilbert-base-uncased' => 'distilbert-mlm',
	'distilbert-base-uncased-finetuned-sst-2-english' => 'distilbert-sst2',
	'distilbert-base-cased-distilled-squad' => 'distilbert-qa',
	'distilbert-base-uncased-distilled-squad' => 'distilbert-qa');
is(scalar @{ $published->{models} }, scalar keys %stand_ins, 'a stand-in for every model of the table');
($passed, $output) = check_models('published_values.json', place_models('published', %stand_ins));
ok(!$passed, 'random weights do not pass for published ones');
foreach my $model (@{ $published->{models} })
{
	my $name = $model->{names}[0];
	like($output, qr/^\S* *ok \d+ - \Q$name\E is loaded/m, "$name is found and loaded");
	foreach my $check (@{ $model->{checks} })
	{
		like($output, qr/^\S* *not ok \d+ - \Q$name: $check->{source}\E/m, "$name: $check->{source}: compared and refused");
	}
}
unlike($output, qr/ERROR: /, 'and every query of the table runs');
done_testing();
