# The programs of README.md, section "From Python and Node", as they stand there:
# they run, and print what psql gives for the same questions.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use PgSemantic::TestServer;

# The only code block of the language in README.md.
sub example
{
	my ($language) = @_;
	my @blocks = slurp_file('README.md') =~ /^```\Q$language\E\n(.*?)^```$/msg;
	is(scalar @blocks, 1, "README.md has one example in $language");
	return $blocks[0];
}

# What the example prints; the test fails where the program cannot be run.
sub output_of
{
	my ($name, $source, @interpreter) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$name";
	append_to_file($file, $source);
	my ($out, $err) = run_command([ @interpreter, $file ]);
	is($err, '', "$name: no complaint (where a driver is missing, 'make deps' installs it)");
	return $out;
}

my $node = new_server('clients');
local $ENV{PGHOST} = $node->host;
local $ENV{PGPORT} = $node->port;
local $ENV{PGDATABASE} = 'postgres';
local $ENV{PGUSER} = $node->safe_psql('postgres', 'SELECT current_user');

# Debian's interpreter, which sees Debian's psycopg.
my $python = output_of('example.py', example('python'), '/usr/bin/python3');
is($node->safe_psql('postgres', 'SELECT count(*) FROM help'), '3', 'Python: the rows are committed');
is($node->safe_psql('postgres', 'SELECT vectors FROM semantic_indexes'), '3', 'Python: and indexed');
my $by_psql = $node->safe_psql('postgres', q{
	SELECT to_char(body <=> 'I cannot log in any more', 'FM0.0000') || ' ' || body
	FROM help ORDER BY body <=> 'I cannot log in any more' LIMIT 2});
like($by_psql, qr/\A0\.\d{4} How to reset/, 'the password is the answer');
my $expected = "$by_psql\nBread wants forty minutes in a hot oven";
is($python, $expected, 'Python: what psql gives');

local $ENV{NODE_PATH} = 'node_modules';
my $javascript = output_of('example.js', example('js'), 'node');
is($javascript, $expected, 'Node: what psql gives');

$node->stop;
done_testing();
