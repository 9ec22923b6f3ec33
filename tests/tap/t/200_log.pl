# The index's records in PostgreSQL's log: they can be read, they are replayed, and what the index had before
# the log reached the disk goes when a crash takes the end of the log away.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use PgSemantic::TestServer;

# Nothing but a commit that waits, or a full buffer, writes the log to the disk.
my $node = new_server('log', conf => q{
wal_level = logical
wal_writer_delay = 10s
wal_writer_flush_after = 1GB
wal_buffers = 16MB
bgwriter_lru_maxpages = 0
autovacuum = off
checkpoint_timeout = 1h
});
sub sql { return $node->safe_psql('postgres', $_[0]) }

# The drops that were logged since; a commit brings the log to the disk, where it is read.
sub drops_since {
    my ($start) = @_;
    sql("SELECT pg_logical_emit_message(true, 'test', '')");
    return sql(qq{
        SELECT count(*) FROM pg_get_wal_records_info_till_end_of_wal('$start')
        WHERE resource_manager = 'pg_semantic' AND record_type = 'DROP'});
}
sub wait_for_drops {
    my ($start, $wanted) = @_;
    my $end = time + $PostgreSQL::Test::Utils::timeout_default;
    my $found = 0;
    while (time < $end) {
        $found = drops_since($start);
        last if $found >= $wanted;
        sleep 0.1;
    }
    return $found;
}

# ---- records ---------------------------------------------------------------------

sql('CREATE EXTENSION pg_walinspect');
my $start = sql('SELECT pg_current_wal_insert_lsn()');
sql(q{
    CREATE TABLE points (id int, embedding real[]);
    CREATE INDEX points_embedding ON points USING semantic (embedding real_l2_ops);
    INSERT INTO points SELECT i, array[i, 1, 2]::real[] FROM generate_series(1, 500) AS i;
    DELETE FROM points WHERE id > 400});
sql('VACUUM points');
sql('REINDEX INDEX points_embedding');
wait_for_drops($start, 1);
is(sql(qq{
    SELECT record_type || ': ' || regexp_replace(string_agg(DISTINCT regexp_replace(description, '\\d{5,}', '…'), '; '), '^generation ', '')
    FROM pg_get_wal_records_info_till_end_of_wal('$start') WHERE resource_manager = 'pg_semantic' GROUP BY record_type ORDER BY 1}),
    "CREATE: …\nDELETE: …, 100 rows\nDROP: …\nFINISH_BUILD: …\nINSERT: …, 400 rows; generation …, 500 rows",
    'the log tells of each kind of change, readably');
my ($segment) = split /\|/, sql("SELECT pg_walfile_name('$start')");
my ($dump, $errors) = ('', '');
IPC::Run::run([ 'pg_waldump', '--start', $start, $node->data_dir . "/pg_wal/$segment" ], '>', \$dump, '2>', \$errors);
like($dump, qr/custom187/, 'pg_waldump goes on past records of ours, which it can only number');

$start = sql('SELECT pg_current_wal_insert_lsn()');
sql(q{
    CREATE UNLOGGED TABLE volatile (embedding real[]);
    CREATE INDEX ON volatile USING semantic (embedding);
    INSERT INTO volatile VALUES ('{1,2}')});
sql("SELECT pg_logical_emit_message(true, 'test', '')");
is(sql("SELECT count(*) FROM pg_get_wal_records_info_till_end_of_wal('$start') WHERE resource_manager = 'pg_semantic'"),
    '0', 'unlogged indexes write nothing to it');

# ---- what a crash takes away --------------------------------------------------------

sub state_of { return sql("SELECT state FROM semantic_indexes WHERE index = 'points_embedding'::regclass") }
sub holds {
    my ($rows, $what) = @_;
    is(rows_through_index($node, 'points', "embedding <-> '{0,1,2}'"), join("\n", @$rows), "$what: the index has the table's rows");
    is(state_of(), 'ready', "$what: without a repair");
    return sound_index($node, 'points_embedding', $what);
}

sql('TRUNCATE points; INSERT INTO points SELECT i, array[i, 1, 2]::real[] FROM generate_series(1, 100) AS i');
crash_server($node);
holds([ 1 .. 100 ], 'what is committed');
# Not committed, searched (so sent to the worker), and not on the disk: gone from the log.
my $session = open_session($node);
is(session_runs($session, q{
    BEGIN;
    INSERT INTO points SELECT i, array[i, 1, 2]::real[] FROM generate_series(101, 150) AS i;
    SET enable_seqscan = off;
    SELECT id FROM points ORDER BY embedding <-> '{150,1,2}' LIMIT 1;}), '150', 'a transaction searches what it has not committed');
crash_server($node);
end_session($session);
holds([ 1 .. 100 ], 'what was not committed is gone');

# Committed without waiting for the disk: the table loses it, and so does the index.
my $lost = 0;
for my $round (1 .. 5) {
    sql("SET synchronous_commit = off; INSERT INTO points SELECT i, array[i, 1, 2]::real[] FROM generate_series(1000, 1019) AS i");
    crash_server($node);
    my $count = sql('SELECT count(*) FROM points WHERE id >= 1000');
    ok($count eq '0' || $count eq '20', "round $round: the rows of a transaction are there or not ($count)");
    $lost++ if $count eq '0';
    holds([ 1 .. 100, $count eq '20' ? 1000 .. 1019 : () ], "round $round of synchronous_commit = off");
    sql('DELETE FROM points WHERE id >= 1000');
    sql('VACUUM points');
}
cmp_ok($lost, '>', 0, 'synchronous_commit = off does not wait for the disk');

# The places of rows that were lost go to other rows, some of which the index must not have.
sql(q{
    CREATE TABLE parts (id int, embedding real[], wanted bool);
    CREATE INDEX parts_wanted ON parts USING semantic (embedding real_l2_ops) WHERE wanted});
sql("SET synchronous_commit = off; INSERT INTO parts SELECT i, array[i, 1]::real[], true FROM generate_series(1, 20) AS i");
crash_server($node);
sql("INSERT INTO parts SELECT i, array[i, 1]::real[], false FROM generate_series(1, 20) AS i");
is(sql(q{SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM parts WHERE wanted ORDER BY embedding <-> '{3,1}') AS found}),
    sql('SELECT count(*) FROM parts WHERE wanted'), 'a partial index has no rows that it should not have');
sound_index($node, 'parts_wanted', 'the partial index');

# ---- others who read the log, and storage that moves -------------------------------------

sql("SELECT pg_create_logical_replication_slot('decoded', 'test_decoding')");
sql("INSERT INTO parts VALUES (100, '{100,1}', true)");
like(sql("SELECT string_agg(data, ' ') FROM pg_logical_slot_get_changes('decoded', NULL, NULL)"), qr/INSERT: id\[integer\]:100/,
    'logical decoding goes past records of ours');
sql("SELECT pg_drop_replication_slot('decoded')");
sql('SET allow_in_place_tablespaces = on; CREATE TABLESPACE elsewhere LOCATION \'\'');
sql('ALTER INDEX points_embedding SET TABLESPACE elsewhere');
sql('ALTER TABLE points SET TABLESPACE elsewhere');
crash_server($node);
holds([ 1 .. 100 ], 'an index that was moved to another tablespace');

# ---- garbage ----------------------------------------------------------------------

$session = open_session($node);
is(session_runs($session, "BEGIN; CREATE INDEX abandoned ON points USING semantic (embedding); SELECT 'built';"), 'built', 'an index is built');
sql("SELECT pg_logical_emit_message(true, 'test', '')");    # with it, what the build has logged comes to the disk
crash_server($node);
end_session($session);
$start = sql('SELECT pg_current_wal_insert_lsn()');
sql('VACUUM points');
is(wait_for_drops($start, 1), 1,
    'VACUUM collects what an index left whose CREATE a crash cut off');

sql("CREATE TABLE others AS SELECT * FROM points");
sql("BEGIN; CREATE INDEX prepared_index ON others USING semantic (embedding); PREPARE TRANSACTION 'index'");
sql("BEGIN; DROP INDEX points_embedding; PREPARE TRANSACTION 'drop'");
$start = sql('SELECT pg_current_wal_insert_lsn()');
sql('VACUUM parts');
is(drops_since($start), 0, 'it leaves prepared transactions their indexes');
crash_server($node);
sql('VACUUM parts');
sql("COMMIT PREPARED 'index'");
sql("ROLLBACK PREPARED 'drop'");
holds([ 1 .. 100 ], 'an index whose DROP was prepared and rolled back');
sound_index($node, 'prepared_index', 'an index that was prepared over a crash');
sql("BEGIN; DROP INDEX prepared_index; PREPARE TRANSACTION 'drop'");
sql("COMMIT PREPARED 'drop'");
$start = sql('SELECT pg_current_wal_insert_lsn()');
sql('VACUUM parts');
is(wait_for_drops($start, 1), 1, 'an index whose DROP was prepared and committed is collected by VACUUM');

no_crash_in_log($node, 'log');
$node->stop;

# ---- wal_level = minimal: a new table and its index are not logged, but are on the disk ------------------
$node = new_server('minimal', conf => "wal_level = minimal\nmax_wal_senders = 0\nautovacuum = off");
$node->safe_psql('postgres', q{
    BEGIN;
    CREATE TABLE points (id int, embedding real[]);
    INSERT INTO points SELECT i, array[i, 1, 2]::real[] FROM generate_series(1, 50) AS i;
    CREATE INDEX points_embedding ON points USING semantic (embedding real_l2_ops);
    INSERT INTO points SELECT i, array[i, 1, 2]::real[] FROM generate_series(51, 100) AS i;
    COMMIT;
    INSERT INTO points SELECT i, array[i, 1, 2]::real[] FROM generate_series(101, 150) AS i});
crash_server($node);
holds([ 1 .. 150 ], 'wal_level = minimal');
$node->stop;
done_testing();
