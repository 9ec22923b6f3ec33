# The shortest whole path: extension, table, index, ranked rows; and all of it
# again after a restart.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use PgSemantic::TestServer;

my $node = new_server('smoke');

$node->safe_psql('postgres', q{
    CREATE TABLE documents (id int PRIMARY KEY, body text);
    INSERT INTO documents VALUES
        (1, 'How do I reset the password of my account?'),
        (2, 'Bake the bread for forty minutes in a hot oven.'),
        (3, 'The train to the airport leaves every ten minutes.'),
        (4, NULL);
    CREATE INDEX documents_body ON documents USING semantic (body);
});

my $nearest = q{
    SET enable_seqscan = off;
    SELECT id FROM documents ORDER BY body <=> 'I forgot my password' LIMIT 1};
is($node->safe_psql('postgres', $nearest), '1', 'a row is found by meaning');
like($node->safe_psql('postgres', "SET enable_seqscan = off; EXPLAIN SELECT id FROM documents ORDER BY body <=> 'x' LIMIT 1"),
    qr/Index Scan using documents_body/, 'through the index');

$node->safe_psql('postgres', q{
    INSERT INTO documents VALUES (5, 'I forgot my password');
    DELETE FROM documents WHERE id = 2;
    UPDATE documents SET body = 'Trains to the city run all night.' WHERE id = 3});
is($node->safe_psql('postgres', $nearest), '5', 'an inserted row is found at once');
is(rows_through_index($node, 'documents', "body <=> 'x'"), "1\n3\n4\n5",
    'without a LIMIT the index returns every row, the one with NULL too');
like($node->safe_psql('postgres', "SELECT model, dimensions, metric, vectors FROM semantic_indexes"),
    qr/^default\|\d+\|cosine\|\d+$/, 'semantic_indexes describes the index');

$node->restart;
wait_for_worker($node);
is($node->safe_psql('postgres', $nearest), '5', 'the same after a restart');
sound_index($node, 'documents_body', 'after a restart');

$node->safe_psql('postgres', 'DROP EXTENSION pg_semantic CASCADE; CREATE EXTENSION pg_semantic');
is($node->safe_psql('postgres', "SELECT count(*) FROM semantic_indexes"), '0', 'the extension goes and comes back');
no_crash_in_log($node, 'smoke');
$node->stop;
done_testing();
