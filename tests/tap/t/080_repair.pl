# An index whose data the worker's store has lost, in part or whole (a missing directory, damaged files, an older copy,
# a copied database), knows it and is repaired before it answers; what is still there is not embedded
# again.  A cancelled build or repair leaves nothing.
use strict;
use warnings;
use File::Path qw(rmtree);
use PostgreSQL::Test::Utils;
use Test::More;
use PgSemantic::TestServer;

my $node = new_server('repair', conf => 'autovacuum = off');
my $root = $node->data_dir . '/pg_semantic';
my $store = "$root/pgsql_tmp.index";
sub sql { return $node->safe_psql('postgres', $_[0]) }
sql(q{
    CREATE TABLE points (id int, embedding real[]);
    INSERT INTO points SELECT i, array[i, 1, 2]::real[] FROM generate_series(1, 500) AS i;
    INSERT INTO points VALUES (501, NULL);
    CREATE INDEX points_embedding ON points USING semantic (embedding real_l2_ops);
    CREATE TABLE texts (id int, body text);
    INSERT INTO texts SELECT i, 'text number ' || i FROM generate_series(1, 300) AS i;
    CREATE INDEX texts_body ON texts USING semantic (body)});
my $nearest = "SET enable_seqscan = off; SELECT id FROM points ORDER BY embedding <-> '{7,1,2}' LIMIT 1";
my $nearest_text = "SET enable_seqscan = off; SELECT id FROM texts ORDER BY body <=> 'text number 77' LIMIT 1";

sub state_of { return sql("SELECT state FROM semantic_indexes WHERE index = '$_[0]'::regclass") }

# The entries that repairs of an index have changed since the log had this length.
sub changed_since {
    my ($log_end, $index) = @_;
    my $log = substr slurp_file($node->logfile), $log_end;
    return join ', ', $log =~ /repaired semantic index "$index": (\d+) entries changed/g;
}
sub log_end { return -s $node->logfile }

# ---- everything is lost ------------------------------------------------------------------------
sub lose_everything { $node->stop; rmtree([ glob "$root/pgsql_tmp.*" ]); rmtree([ glob "$root/copy.*" ]); $node->start; wait_for_worker($node); return }

lose_everything();
is(state_of('points_embedding'), 'lost', 'a missing directory: the index is shown as lost');
is(sql("SELECT problem FROM semantic_index_check('points_embedding')"),
    "the index worker's store has no data of this index", 'the check says so');
sql('VACUUM points');
my $log_end = log_end();
sql("INSERT INTO points VALUES (502, '{502,1,2}')");
is(sql($nearest), '7', 'it is repaired before it answers');
is(changed_since($log_end, 'points_embedding'), '502', 'every row is put in, one that came before the repair as well');
is(state_of('points_embedding'), 'ready', 'and is ready');
is(sql($nearest_text), '77', 'so is one of texts');
sound_index($node, $_, 'after everything was lost') for qw(points_embedding texts_body);
is(rows_through_index($node, 'points', "embedding <-> '{7,1,2}'"), join("\n", 1 .. 502), 'all rows are there');
is(sql("SELECT semantic_index_repair('points_embedding')"), '0', 'there is nothing left to repair');

# Two sessions at once, and one that writes.
lose_everything();
my @sessions = map { open_session($node) } 1 .. 3;
session_begins($sessions[$_], "$nearest;") for 0 .. 1;
session_begins($sessions[2], "INSERT INTO points VALUES (503, '{503,1,2}');");
is(session_runs($_, "$nearest;"), $_ == $sessions[2] ? '7' : "7\n7", 'sessions that find an index lost at the same time get the right answer') for @sessions;
end_session($_) for @sessions;
sound_index($node, 'points_embedding', 'repaired for several sessions');
is(rows_through_index($node, 'points', "embedding <-> '{7,1,2}'"), join("\n", 1 .. 503), 'and the row that was written meanwhile');

# A repair that is cancelled, and one that is cut off by a crash.
sql("INSERT INTO texts SELECT i, 'text number ' || i FROM generate_series(301, 20000) AS i");
lose_everything();
my ($status, $output, $error) = $node->psql('postgres', "SET statement_timeout = '300ms'; $nearest_text");
like($error, qr/statement timeout/, 'a repair can be cancelled');
my $session = open_session($node);
session_begins($session, "$nearest_text;");
$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%text number 77%' AND state = 'active' AND pid <> pg_backend_pid()");
kill_server($node);
end_session($session);
$node->start;
is(sql($nearest_text), '77', 'what is begun again is done');
sound_index($node, 'texts_body', 'after a repair that was cut off');
sql('DELETE FROM texts WHERE id > 300');
sql('VACUUM texts');
is(sql($nearest), '7', 'the other index is repaired as well');

# ---- damaged files, an older copy -----------------------------------------------------------------
sub damage_manifest {
    for my $manifest (glob "$store/MANIFEST-*") {
        open my $file, '+<:raw', $manifest or die $!;
        seek $file, 20, 0;
        print $file 'x' x 200;
        close $file;
    }
    return;
}

sql('CHECKPOINT');
sql(q{
    INSERT INTO texts SELECT i, 'text number ' || i FROM generate_series(1001, 1020) AS i;
    DELETE FROM texts WHERE id <= 10;
    UPDATE texts SET body = 'another text' WHERE id = 20});
sql('VACUUM texts');
$node->stop;
damage_manifest();
$log_end = log_end();
$node->start;
wait_for_worker($node);
is(state_of('texts_body'), 'behind', 'a damaged manifest: the copy of the last checkpoint is behind');
is(sql("SELECT problem FROM semantic_index_check('texts_body') WHERE ctid IS NULL"), 'the index is behind its table', 'the check says so');
is(sql($nearest_text), '77', 'it is repaired before it answers');
is(changed_since($log_end, 'texts_body'), '32', 'only what differs is changed: 20 new rows, 11 dead ones, and a changed one');
is(sql("SET enable_seqscan = off; SELECT body FROM texts ORDER BY body <=> 'another text' LIMIT 1"), 'another text', 'a changed row is found');
sound_index($node, 'texts_body', 'after damage');
is(scalar(my @aside = glob "$root/pgsql_tmp.damaged.*"), 1, 'what was damaged is put aside, not removed');
is(sql("SELECT semantic_index_repair('points_embedding')"), '0', 'an index that only might be behind is looked at');
is(state_of('points_embedding'), 'ready', 'and is ready');

# In a crash the log is replayed onto the copy.
sql('CHECKPOINT');
sql("INSERT INTO points VALUES (504, '{504,1,2}')");
kill_server($node);
damage_manifest();
$log_end = log_end();
$node->start;
wait_for_worker($node);
is(state_of('points_embedding'), 'ready', 'damage and a crash: replay brings the copy up to date');
is(rows_through_index($node, 'points', "embedding <-> '{7,1,2}'"), join("\n", 1 .. 504), 'with every row');
sound_index($node, $_, 'replayed onto a copy') for qw(points_embedding texts_body);
is(changed_since($log_end, '\w+'), '', 'without a repair');

# ---- a copied database -----------------------------------------------------------------------------
sql('CREATE DATABASE copied TEMPLATE postgres');
is($node->safe_psql('copied', $nearest), '7', 'an index copied with its database answers');
$node->safe_psql('copied', 'DELETE FROM points WHERE id < 100');
$node->safe_psql('copied', 'VACUUM points');
is($node->safe_psql('copied', $nearest), '100', 'from rows of its own');
is($node->safe_psql('copied', "SELECT count(*) FROM semantic_index_check('points_embedding')"), '0', 'soundly');
$node->safe_psql('copied', "INSERT INTO texts VALUES (9999, 'a very special word')");
is($node->safe_psql('copied', "SET enable_seqscan = off; SELECT id FROM texts ORDER BY body <=> 'a very special word' LIMIT 1"),
    '9999', 'rows that are put into a copied index before it was searched are found');
is(sql($nearest), '7', "the original's rows are its own");
crash_server($node);
is($node->safe_psql('copied', $nearest), '100', 'after a crash the copy has its rows');
sql('DROP DATABASE copied');
is(sql($nearest), '7', 'dropping it leaves the original alone');
sound_index($node, $_, 'the original') for qw(points_embedding texts_body);

# ---- who may --------------------------------------------------------------------------------------------
sql('CREATE ROLE reader; GRANT SELECT ON points TO reader');
($status, $output, $error) = $node->psql('postgres', "SET ROLE reader; SELECT semantic_index_repair('points_embedding')");
like($error, qr/must be owner of index points_embedding/, 'a repair is for the owner');

# ---- a build that is cancelled leaves no index and no rows in the store ------------------------------
($status, $output, $error) = $node->psql('postgres', q{
    CREATE TABLE many AS SELECT 'text number ' || i AS body FROM generate_series(1, 200000) AS i;
    SET statement_timeout = '700ms';
    CREATE INDEX many_body ON many USING semantic (body)});
like($error, qr/statement timeout/, 'a build is cancelled');
is(sql("SELECT count(*) FROM pg_class WHERE relname = 'many_body'"), '0', 'its index is gone');
is(sql('SELECT count(*) FROM semantic_indexes'), '2', 'the others are there');
no_crash_in_log($node, 'repair');
$node->stop;
done_testing();
