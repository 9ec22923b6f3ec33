# Physical replication: a standby's index answers as the primary's does at the same position of the log, through
# builds, VACUUM, TRUNCATE and REINDEX on the primary, through crashes of its own, cascaded, and promoted.
use strict;
use warnings;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use PgSemantic::TestServer;

my $seed = $ENV{PG_SEMANTIC_SEED} // int(rand 2**31);
srand $seed;
diag("seed: PG_SEMANTIC_SEED=$seed");
my $questions = $ENV{PG_SEMANTIC_QUESTIONS} // 1000;

my $primary = new_server('primary', primary => 1, conf => q{
autovacuum_naptime = 1s
checkpoint_timeout = 30s
max_standby_streaming_delay = -1
wal_keep_size = 1GB
restart_after_crash = on
});
$primary->safe_psql('postgres', q{
    CREATE TABLE documents (id int PRIMARY KEY, body text) WITH (autovacuum_vacuum_threshold = 20);
    CREATE TABLE points (id int PRIMARY KEY, embedding real[]) WITH (autovacuum_vacuum_threshold = 20);
    CREATE TABLE early (id int, embedding real[]);
    CREATE INDEX documents_body ON documents USING semantic (body);
    CREATE INDEX points_embedding ON points USING semantic (embedding real_l2_ops);
    INSERT INTO early SELECT i, array[i, i % 7, 1]::real[] FROM generate_series(1, 3000) AS i;
    CREATE INDEX early_embedding ON early USING semantic (embedding real_l2_ops)});

sub standby_of {
    my ($name, $upstream) = @_;
    $upstream->backup("for_$name");
    my $standby = PostgreSQL::Test::Cluster->new($name);
    $standby->init_from_backup($upstream, "for_$name", has_streaming => 1);
    $standby->start;
    return $standby;
}

# Writes until it is told to end; a process of its own, so that servers are looked at meanwhile.
my $stop_file = PostgreSQL::Test::Utils::tempdir . '/stop';
sub sentence { return random_sentence(3 + rand 6) }
sub random_statement {
    my ($next) = @_;
    my $kind = rand;
    my $first = $$next;
    if ($kind < 0.4) {
        $$next += 20;
        return "INSERT INTO points SELECT i, array[random() * 100, random() * 100, i % 10]::real[] FROM generate_series($first, $first + 19) AS i";
    }
    if ($kind < 0.6) {
        $$next += 3;
        return 'INSERT INTO documents VALUES ' . join(', ', map { '(' . ($first + $_) . ", '" . sentence() . "')" } 0 .. 2);
    }
    return "UPDATE points SET embedding = array[random() * 100, 1, 2]::real[] WHERE id % 17 = " . int rand 17 if $kind < 0.75;
    return "DELETE FROM points WHERE id % 23 = " . int rand 23 if $kind < 0.85;
    return "DELETE FROM documents WHERE id % 13 = " . int rand 13 if $kind < 0.9;
    return (map { "VACUUM $_" } qw(points documents))[ rand 2 ] if $kind < 0.96;
    return 'CHECKPOINT' if $kind < 0.98;
    return 'BEGIN; INSERT INTO points VALUES (-1, array[1, 2, 3]::real[]); ROLLBACK';
}
sub start_writer {
    my ($first) = @_;
    unlink $stop_file;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    srand($seed + $first);
    my $next = $first;
    eval {
        until (-e $stop_file) { $primary->psql('postgres', join(";\n", map { random_statement(\$next) } 1 .. 10)); }
        1;
    };
    POSIX::_exit(0);
}
sub stop_writer {
    my ($pid) = @_;
    append_to_file($stop_file, '');
    waitpid $pid, 0;
    return;
}

# The same questions on both, in one statement each, through the index.
sub same_answers {
    my ($one, $other, $what) = @_;
    my $half = int($questions / 2);
    my $query = qq{
        SET enable_seqscan = off;
        SELECT q, string_agg(id || ' ' || round(distance::numeric, 3), ', ' ORDER BY distance, id)
        FROM generate_series(1, $half) AS q, LATERAL (
            SELECT id, embedding <-> array[q * 37 % 100, q * 59 % 100, q % 10]::real[] AS distance FROM points
            ORDER BY embedding <-> array[q * 37 % 100, q * 59 % 100, q % 10]::real[] LIMIT 5) AS nearest GROUP BY q ORDER BY q;
        SELECT q, string_agg(id || ' ' || round(distance::numeric, 3), ', ' ORDER BY distance, id)
        FROM generate_series(1, $half) AS q, LATERAL (
            SELECT id, body <=> ('question about number ' || q) AS distance FROM documents
            ORDER BY body <=> ('question about number ' || q) LIMIT 5) AS nearest GROUP BY q ORDER BY q};
    $query = "SET semantic.recall = 1;\n$query";
    my $expected = $one->safe_psql('postgres', $query);
    my $found = $other->safe_psql('postgres', $query);
    my @lines = split /\n/, $expected;
    cmp_ok(scalar @lines, '>=', $half, "$what: there are answers");
    return ok($expected eq $found, "$what: " . 2 * $half . ' questions have the same answers on both');
}
sub ready_on {
    my ($node, $what) = @_;
    return is($node->safe_psql('postgres', 'SELECT DISTINCT state FROM semantic_indexes'), 'ready', "$what: every index is ready");
}

# Not poll_query_until(), which dies when psql does not read what it is sent.
sub wait_for_server {
    my ($node) = @_;
    my $end = time + $PostgreSQL::Test::Utils::timeout_default;
    while (time < $end) {
        return 1 if system('pg_isready', '-q', '-h', $node->host, '-p', $node->port) == 0;
        sleep 0.1;
    }
    return 0;
}

my $writer = start_writer(1);
sleep 1;
# ---- a backup of the busy primary --------------------------------------------------------
my $standby = standby_of('standby', $primary);
ready_on($standby, 'a standby from a base backup of a busy server');
is($standby->safe_psql('postgres', "SET enable_seqscan = off; SELECT id FROM early ORDER BY embedding <-> '{1500,2,1}' LIMIT 1"),
    '1500', 'what was there before the backup is found');
unlike(slurp_file($standby->logfile), qr/behind|cannot be used|repair/, 'its store needs no repair');

my $started = time;
my $asked = 0;
while (time < $started + 4) {
    my $rows = $standby->safe_psql('postgres',
        "SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM points ORDER BY embedding <-> '{50,50,5}' LIMIT 10) AS s");
    die "a query on the busy standby found $rows rows" unless $rows =~ /^\d+$/;
    $asked++;
}
cmp_ok($asked, '>', 0, "a standby answers while it replays ($asked queries)");
stop_writer($writer);
$primary->wait_for_catchup($standby);
same_answers($primary, $standby, 'after load');
sound_index($standby, $_, 'standby') for qw(documents_body points_embedding early_embedding);

# ---- statements that make new storage ------------------------------------------------------
$primary->safe_psql('postgres', q{
    CREATE TABLE late (id int, embedding real[]);
    INSERT INTO late SELECT i, array[i, i % 11, 1]::real[] FROM generate_series(1, 4000) AS i;
    CREATE INDEX late_embedding ON late USING semantic (embedding real_l2_ops)});
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', "SET enable_seqscan = off; SELECT id FROM late ORDER BY embedding <-> '{2500,3,1}' LIMIT 1"),
    '2500', 'an index built on the primary is built on the standby, and a query waits for it');
$primary->safe_psql('postgres', 'REINDEX INDEX CONCURRENTLY late_embedding');
$primary->safe_psql('postgres', "TRUNCATE early; INSERT INTO early VALUES (7, '{7,7,7}')");
$primary->safe_psql('postgres', 'DROP INDEX documents_body');
$primary->safe_psql('postgres', 'CREATE INDEX documents_body ON documents USING semantic (body)');
$primary->wait_for_catchup($standby);
is(rows_through_index($standby, 'early', "embedding <-> '{1,2,3}'"), '7', 'TRUNCATE');
is(rows_through_index($standby, 'late', "embedding <-> '{1,2,3}'"), join("\n", 1 .. 4000), 'REINDEX CONCURRENTLY');
same_answers($primary, $standby, 'after DDL');
my $error = '';
$standby->psql('postgres', "INSERT INTO points VALUES (1, '{1,2,3}')", stderr => \$error);
like($error, qr/read-only transaction/, 'a standby takes no rows');

# ---- crashes of the standby -----------------------------------------------------------------
$writer = start_writer(100000);
for my $round (1 .. 6) {
    sleep rand 1;
    if ($round % 3 == 0) {
        kill 'KILL', worker_pid($standby);
        sleep 0.5;
    } else {
        $round % 3 == 1 ? $standby->stop('immediate') : kill_server($standby);
        $standby->start;
    }
    ok(wait_for_server($standby), "round $round: the standby is back");
    my $rows = $standby->safe_psql('postgres',
        "SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM late ORDER BY embedding <-> '{50,50,5}' LIMIT 10) AS s");
    is($rows, '10', "round $round: and answers");
}
$standby->stop('fast');
$standby->start;
stop_writer($writer);
$primary->wait_for_catchup($standby);
ready_on($standby, 'after crashes of the standby');
same_answers($primary, $standby, 'after crashes of the standby');
sound_index($standby, $_, 'after crashes of the standby') for qw(documents_body points_embedding late_embedding);

# ---- cascade, promotion ------------------------------------------------------------------------
my $cascaded = standby_of('cascaded', $standby);
$primary->safe_psql('postgres', "INSERT INTO points SELECT 900000 + i, array[i, 0, 0]::real[] FROM generate_series(1, 100) AS i");
$primary->wait_for_catchup($standby);
$standby->wait_for_catchup($cascaded, 'replay', $standby->lsn('replay'));
same_answers($primary, $cascaded, 'cascaded');
$primary->stop('immediate');
$standby->promote;
$standby->safe_psql('postgres', q{
    INSERT INTO points SELECT 950000 + i, array[i, 1, 1]::real[] FROM generate_series(1, 100) AS i;
    DELETE FROM points WHERE id % 5 = 0;
    REINDEX INDEX late_embedding});
$standby->safe_psql('postgres', 'VACUUM points');
ready_on($standby, 'promoted');
sound_index($standby, $_, 'promoted') for qw(documents_body points_embedding early_embedding late_embedding);
$standby->wait_for_catchup($cascaded, 'replay', $standby->lsn('insert'));
same_answers($standby, $cascaded, 'a standby of the promoted one');
sound_index($cascaded, $_, 'cascaded') for qw(documents_body points_embedding late_embedding);

no_crash_in_log($_, $_->name) for $primary, $standby, $cascaded;
$cascaded->stop;
$standby->stop;
done_testing();
