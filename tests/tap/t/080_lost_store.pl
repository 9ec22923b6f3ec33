# An index whose rows the worker's store does not have (damaged files, a lost
# directory, a copied database) says so, gives no wrong answer, and is whole
# again after REINDEX; a cancelled build leaves nothing.
use strict;
use warnings;
use File::Path qw(rmtree);
use PostgreSQL::Test::Utils;
use Test::More;
use PgSemantic::TestServer;

my $node = new_server('lost');
my $store = $node->data_dir . '/pg_semantic/index';
my $nearest = 'SET enable_seqscan = off; SELECT id FROM points ORDER BY embedding <=> array[7, 1, 2]::real[] LIMIT 1';
$node->safe_psql('postgres', q{
    CREATE TABLE points (id int, embedding real[]);
    INSERT INTO points SELECT i, array[i, 1, 2]::real[] FROM generate_series(1, 500) AS i;
    CREATE INDEX points_embedding ON points USING semantic (embedding)});

sub state_of { return $node->safe_psql('postgres', "SELECT state FROM semantic_indexes WHERE index = 'points_embedding'::regclass") }

sub is_lost_and_comes_back {
    my ($what) = @_;
    is(state_of(), 'lost', "$what: the index is shown as lost");
    isnt($node->safe_psql('postgres', "SELECT count(*) FROM semantic_index_check('points_embedding')"), '0', "$what: the check finds it");
    my ($status, $output, $error) = $node->psql('postgres', $nearest);
    isnt($status, 0, "$what: a scan gives no rows but an error");
    like($error, qr/HINT:.*REINDEX/, "$what: with the way out");
    ($status, $output, $error) = $node->psql('postgres', "INSERT INTO points VALUES (1000, array[1, 1, 1]::real[])");
    isnt($status, 0, "$what: a row that the index would miss is refused");
    $node->safe_psql('postgres', 'VACUUM points');
    $node->safe_psql('postgres', 'REINDEX INDEX points_embedding');
    is(state_of(), 'ready', "$what: REINDEX makes it whole");
    is($node->safe_psql('postgres', $nearest), '7', "$what: and it answers");
    is($node->safe_psql('postgres', "SELECT count(*) FROM semantic_index_check('points_embedding')"), '0', "$what: soundly");
}

$node->stop;
rmtree($store);
$node->start;
wait_for_worker($node);
is_lost_and_comes_back('a missing directory');

$node->stop;
for my $manifest (glob "$store/MANIFEST-*") {
    open my $file, '+<:raw', $manifest or die $!;
    seek $file, 20, 0;
    print $file 'x' x 200;
    close $file;
}
$node->start;
wait_for_worker($node);
is_lost_and_comes_back('a damaged manifest');
is(scalar(my @aside = glob "$store.damaged.*"), 1, 'what was damaged is put aside, not removed');

# A copied database has a copy of the metapage, but the rows are the original's.
$node->safe_psql('postgres', 'CREATE DATABASE copied TEMPLATE postgres');
my ($status, $output, $error) = $node->psql('copied', $nearest);
like($error, qr/belongs to another database/, 'a copied index does not answer for the original');
$node->safe_psql('copied', 'DELETE FROM points WHERE id < 100; REINDEX INDEX points_embedding');
is($node->safe_psql('copied', $nearest), '100', 'after REINDEX it has rows of its own');
is($node->safe_psql('postgres', $nearest), '7', "which are not the original's");
$node->safe_psql('postgres', 'DROP DATABASE copied');
is($node->safe_psql('postgres', $nearest), '7', 'and dropping it leaves the original alone');

# A build that is cancelled leaves no index and no rows in the store.
($status, $output, $error) = $node->psql('postgres', q{
    CREATE TABLE texts AS SELECT 'text number ' || i AS body FROM generate_series(1, 200000) AS i;
    SET statement_timeout = '700ms';
    CREATE INDEX texts_body ON texts USING semantic (body)});
like($error, qr/statement timeout/, 'a build is cancelled');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_class WHERE relname = 'texts_body'"), '0', 'its index is gone');
is($node->safe_psql('postgres', 'SELECT count(*) FROM semantic_indexes'), '1', 'the other one is there');
no_crash_in_log($node, 'lost store');
$node->stop;
done_testing();
