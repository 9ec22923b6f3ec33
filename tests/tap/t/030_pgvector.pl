# Indexes over pgvector's columns: with a stand-in for pgvector, and with pgvector
# itself where it is installed.  What the index returns is compared with what
# sorting by pgvector's operators gives.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use PgSemantic::TestServer;

my $node = new_server('pgvector');
my $psql_options = "\\set VERBOSITY verbose\n";
my $search_path = 'public, semantic, vectors';
my $through_index = 'SET enable_seqscan = off; SET enable_sort = off;';

# One test: the statement fails with the SQLSTATE and a message.
sub refused
{
	my ($database, $statement, $sqlstate, $message, $what) = @_;
	my ($status, undef, $err) = $node->psql($database, "$psql_options$statement");
	return like($err, qr/ERROR:  $sqlstate:.*$message/s, $what);
}

# One test: pgvector's order of the table and the index's agree.  Ties may come in any order.
sub same_order
{
	my ($database, $table, $distance, $what) = @_;
	my $plan = $node->safe_psql($database, "$through_index EXPLAIN (COSTS OFF) SELECT id FROM $table ORDER BY $distance LIMIT 20");
	like($plan, qr/Index Scan using \w+ on $table/, "$what: the index is used");
	my $query = "SELECT string_agg(round(coalesce(distance, 'NaN')::numeric, 4)::text, ' ') FROM (SELECT $distance AS distance FROM $table ORDER BY $distance LIMIT 20) AS found";
	return is($node->safe_psql($database, "$through_index $query"),
		$node->safe_psql($database, "SET enable_indexscan = off; $query"),
		"$what: the order is that of a sort");
}

sub fill
{
	my ($database, $table, $type) = @_;
	$node->safe_psql($database, qq{
		CREATE TABLE $table (id int PRIMARY KEY, embedding $type);
		INSERT INTO $table
		SELECT i, ARRAY[sin(i), cos(i * 1.7), sin(i * 0.3) + 1, (i % 17) / 17.0]::real[]::$type FROM generate_series(1, 600) AS i;
		INSERT INTO $table VALUES (1001, NULL), (1002, '[0,0,0,0]')});
}

# Everything an index over one type does.
sub test_type
{
	my ($database, $type) = @_;
	my %operators = (cosine_ops => '<=>', l2_ops => '<->', ip_ops => '<#>');
	foreach my $suffix (sort keys %operators)
	{
		my ($table, $index) = ("${type}_$suffix", "${type}_${suffix}_index");
		my $distance = "embedding $operators{$suffix} '[0.4,-0.2,1.5,0.7]'::$type";
		my $what = "$database: ${type}_$suffix";
		fill($database, $table, $type);
		$node->safe_psql($database, "CREATE INDEX $index ON $table USING semantic (embedding ${type}_$suffix)");
		same_order($database, $table, $distance, "$what: built");
		$node->safe_psql($database, qq{
			INSERT INTO $table SELECT i + 2000, ARRAY[cos(i), sin(i), 1, i / 100.0]::real[]::$type FROM generate_series(1, 100) AS i;
			UPDATE $table SET embedding = '[0.4,-0.2,1.5,0.7]' WHERE id % 97 = 0;
			DELETE FROM $table WHERE id % 13 = 0});
		same_order($database, $table, $distance, "$what: changed");
		$node->safe_psql($database, "VACUUM $table");
		same_order($database, $table, $distance, "$what: vacuumed");
		is($node->safe_psql($database, "SELECT * FROM semantic_index_check('$index')"), '', "$what: is sound");
		is( $node->safe_psql($database, "$through_index SELECT count(*) FROM (SELECT id FROM $table ORDER BY $distance) AS every"),
			$node->safe_psql($database, "SELECT count(*) FROM $table"), "$what: every row, those of NULL and zero too");
		is( $node->safe_psql($database, "SELECT model IS NULL, dimensions, state, vectors > 500 FROM semantic_indexes WHERE index = '$index'::regclass"),
			't|4|ready|t', "$what: semantic_indexes");
		cmp_ok($node->safe_psql($database, "SELECT semantic_index_recall('$index')"), '>=', 0.95, "$what: recall");
		$node->safe_psql($database, "REINDEX INDEX $index");
		$node->safe_psql($database, "REINDEX INDEX CONCURRENTLY $index");
		same_order($database, $table, $distance, "$what: rebuilt");
	}

	my $table = "${type}_cosine_ops";
	is( $node->safe_psql($database, "$through_index PREPARE nearest($type) AS SELECT count(*) FROM (SELECT embedding <=> \$1 AS d FROM $table ORDER BY embedding <=> \$1 LIMIT 5) AS found WHERE d < 0.1;
			SET plan_cache_mode = force_generic_plan; EXECUTE nearest('[0.4,-0.2,1.5,0.7]')"),
		'5', "$database: $type: a parameter of a generic plan");
	like($node->safe_psql($database, "$through_index EXPLAIN SELECT * FROM $table ORDER BY embedding <=> (SELECT embedding FROM $table WHERE id = 5) LIMIT 3"),
		qr/Index Scan using ${table}_index/, "$database: $type: a subquery");
	$node->safe_psql($database, "CREATE INDEX CONCURRENTLY ${type}_default ON $table USING semantic (embedding) WHERE id < 300");
	is($node->safe_psql($database, "SELECT metric FROM semantic_indexes WHERE index = '${type}_default'::regclass"), 'cosine',
		"$database: $type: cosine is the default, CONCURRENTLY and partial");
	is($node->safe_psql($database, "SELECT * FROM semantic_index_check('${type}_default')"), '', "$database: $type: and sound");

	$node->safe_psql($database, "CREATE TABLE ${type}_bad (embedding $type); CREATE INDEX ON ${type}_bad USING semantic (embedding ${type}_l2_ops);
		INSERT INTO ${type}_bad VALUES ('[1,2,3]')");
	refused($database, "INSERT INTO ${type}_bad VALUES ('[1,2]')", '22000', 'expected 3 dimensions, not 2',
		"$database: $type: another number of dimensions");
	refused($database, "$through_index SELECT * FROM ${type}_bad ORDER BY embedding <-> '[1,2]'", '22000', 'different',
		"$database: $type: a query of another number of dimensions");
	foreach my $element ('NaN', 'Infinity')
	{
		refused($database, "INSERT INTO ${type}_bad VALUES ('[1,$element,3]')", '22000|22P02', '(?i:NaN|infinite|invalid)',
			"$database: $type: $element");
	}
	refused($database, "CREATE INDEX ON ${type}_bad USING semantic (embedding) WITH (model = 'default')", '22023',
		'option "model" does not apply to a ([a-z]+\.)?' . "$type column", "$database: $type: model");
}

# Embeddings of pg_semantic in a column of pgvector.
sub test_embeddings
{
	my ($database, $type) = @_;
	$node->safe_psql($database, qq{
		CREATE TABLE ${type}_notes (id int PRIMARY KEY, body text, embedding $type);
		INSERT INTO ${type}_notes (id, body) VALUES (1, 'How to reset the password of your account'),
			(2, 'Bread wants forty minutes in a hot oven'), (3, 'Trains to the airport leave every ten minutes');
		UPDATE ${type}_notes SET embedding = semantic_embed(body)::$type;
		CREATE INDEX ${type}_notes_index ON ${type}_notes USING semantic (embedding ${type}_cosine_ops)});
	my $query = "SELECT id FROM ${type}_notes ORDER BY embedding <=> semantic_embed('I cannot log in any more')::$type LIMIT 1";
	like($node->safe_psql($database, "$through_index EXPLAIN $query"), qr/Index Scan using ${type}_notes_index/,
		"$database: $type: semantic_embed(…)::$type uses the index");
	is($node->safe_psql($database, "$through_index $query"), '1', "$database: $type: and finds the row");
	is( $node->safe_psql($database, "SELECT t.id FROM semantic_search('${type}_notes_index', 'fresh from the bakery', 1) AS s JOIN ${type}_notes AS t ON t.ctid = s.ctid"),
		'2', "$database: $type: semantic_search");
}

# A dump restores, and each extension can go.
sub test_dump_and_drop
{
	my ($database, $semantic_schema, $make) = @_;
	my $dump = $node->backup_dir . "/$database.sql";
	mkdir $node->backup_dir;
	$node->command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-f', $dump, $database ], "$database: pg_dump");
	$node->safe_psql('postgres', "CREATE DATABASE ${database}_copy TEMPLATE template0");
	$node->safe_psql('postgres', "ALTER DATABASE ${database}_copy SET search_path = $search_path");
	# CREATE EXTENSION IF NOT EXISTS finds no files of the stand-in.
	$make->("${database}_copy") unless $database eq 'pgvector';
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $node->host, '-p', $node->port, '-d', "${database}_copy", '-f', $dump ],
		"$database: psql restores the dump");
	my $indexes = 'SELECT index, metric, dimensions, state FROM semantic_indexes ORDER BY index::text';
	is($node->safe_psql("${database}_copy", $indexes), $node->safe_psql($database, $indexes),
		"$database: with its indexes");
	same_order("${database}_copy", 'vector_l2_ops', "embedding <-> '[0.4,-0.2,1.5,0.7]'", "$database: restored");

	# pgvector's own classes have the same names, and other comments.
	my $classes = q{SELECT count(*) FROM pg_opclass WHERE obj_description(oid, 'pg_opclass') ~ 'semantic_enable_pgvector'};
	is($node->safe_psql("${database}_copy", $classes), '6', "$database: and their classes");
	refused($database, 'DROP EXTENSION pg_semantic', '2BP01', 'index .* depends on', "$database: pg_semantic stays while an index is there");
	refused($database, 'DROP EXTENSION vector', '2BP01', 'operator class .* depends on', "$database: pgvector stays while the classes are there");
	$node->safe_psql($database, 'DROP EXTENSION vector CASCADE');
	is($node->safe_psql($database, $classes), '0',
		"$database: classes go with pgvector");
	is($node->safe_psql($database, 'SELECT count(*) FROM semantic_indexes'), '0', "$database: and their indexes");
	$node->safe_psql("${database}_copy", 'DROP EXTENSION pg_semantic CASCADE');
	is($node->safe_psql("${database}_copy", $classes), '0',
		"$database: classes go with pg_semantic");
	$node->safe_psql("${database}_copy", "CREATE EXTENSION pg_semantic SCHEMA $semantic_schema; SELECT semantic_enable_pgvector();
		CREATE INDEX again ON vector_l2_ops USING semantic (embedding vector_l2_ops)");
	is($node->safe_psql("${database}_copy", 'SELECT state FROM semantic_indexes'), 'ready', "$database: and come back");
	$node->safe_psql("${database}_copy", 'DROP INDEX again; DROP EXTENSION pg_semantic');
	is($node->safe_psql("${database}_copy", $classes), '0', "$database: without an index pg_semantic goes, and they with it");
}

# $make->(database) puts pgvector, or what stands in for it, into a database.
sub test_pgvector
{
	my ($database, $semantic_schema, $make) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0");
	$node->safe_psql($database, "CREATE SCHEMA IF NOT EXISTS $semantic_schema; CREATE EXTENSION pg_semantic SCHEMA $semantic_schema;
		ALTER DATABASE $database SET search_path = $search_path");
	refused($database, 'SELECT semantic_enable_pgvector()', '42704', 'extension "vector" does not exist.*HINT:  CREATE EXTENSION vector',
		"$database: without pgvector");
	$make->($database);
	refused($database, "CREATE ROLE nobody_$database; GRANT USAGE ON SCHEMA $semantic_schema TO nobody_$database; SET ROLE nobody_$database; SELECT semantic_enable_pgvector()", '42501', 'must be superuser',
		"$database: without the privilege");
	$node->safe_psql($database, 'SELECT semantic_enable_pgvector(); SELECT semantic_enable_pgvector()');
	is( $node->safe_psql($database, q{
			SELECT string_agg(opcname, ' ' ORDER BY opcname), bool_and(amvalidate(c.oid)) FROM pg_opclass AS c JOIN pg_am AS a ON a.oid = opcmethod
			WHERE amname = 'semantic' AND opcname ~ '^(vector|halfvec)'}),
		'halfvec_cosine_ops halfvec_ip_ops halfvec_l2_ops vector_cosine_ops vector_ip_ops vector_l2_ops|t',
		"$database: the classes are there, called twice, and valid");
	foreach my $type ('vector', 'halfvec')
	{
		test_type($database, $type);
		test_embeddings($database, $type);
	}
	test_dump_and_drop($database, $semantic_schema, $make);
}

my $stand_in = slurp_file('pgvector_stand_in.sql');
test_pgvector('stand_in', 'semantic', sub {
	$node->safe_psql($_[0], "\\set schema public\n$stand_in");
});
if ($node->safe_psql('postgres', q{SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'}))
{
	test_pgvector('pgvector', 'public', sub {
		$node->safe_psql($_[0], 'CREATE SCHEMA vectors; CREATE EXTENSION vector SCHEMA vectors');
	});
	diag('used a stand-in for pgvector, and pgvector ' . $node->safe_psql('postgres', q{SELECT default_version FROM pg_available_extensions WHERE name = 'vector'}));
}
else
{
	diag('pgvector is not installed here: used the stand-in only');
}

no_crash_in_log($node, 'pgvector');
$node->stop;
done_testing();
