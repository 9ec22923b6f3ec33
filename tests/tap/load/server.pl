# A primary and its standby under load twice for a minute (or PG_SEMANTIC_LOAD_SECONDS), with a fast restart of each
# between: clients write, search, roll back, are cancelled and terminated; indexes are built, built anew, dropped
# and vacuumed; checkpoints.  Afterwards index and table agree on both.  No part of `make check`: it is there for
# servers that are watched while it runs (tests/run/sanitize_server.sh).
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
my $seconds = $ENV{PG_SEMANTIC_LOAD_SECONDS} // 60;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$primary->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pg_semantic'
log_statement = none
max_connections = 40
autovacuum_naptime = 1s
checkpoint_timeout = 30s
max_standby_streaming_delay = -1
wal_keep_size = 1GB
semantic.threads = 2
});
$primary->start;
$primary->safe_psql('postgres', q{
    CREATE EXTENSION pg_semantic;
    CREATE TABLE documents (id int PRIMARY KEY, body text) WITH (autovacuum_vacuum_threshold = 20);
    CREATE TABLE points (id int PRIMARY KEY, embedding real[]) WITH (autovacuum_vacuum_threshold = 20);
    CREATE INDEX documents_body ON documents USING semantic (body);
    CREATE INDEX points_embedding ON points USING semantic (embedding real_l2_ops);
    CREATE FUNCTION random_point() RETURNS real[] LANGUAGE sql VOLATILE AS
        $$ SELECT array_agg((random() * 100)::real) FROM generate_series(1, 16) $$;
    INSERT INTO points SELECT -i, random_point() FROM generate_series(1, 4000) AS i;
    INSERT INTO documents SELECT -i, 'note about ' || i FROM generate_series(1, 300) AS i;
    CREATE TABLE settled AS SELECT * FROM points;
    CREATE INDEX settled_embedding ON settled USING semantic (embedding real_cosine_ops)});
$primary->backup('for_standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'for_standby', has_streaming => 1);
$standby->start;
my @indexes = qw(documents_body points_embedding settled_embedding);

# ---- what clients say ----------------------------------------------------------------------

my $writers = 2;
sub one_of { return $_[ rand @_ ]; }
sub sentence { return random_sentence(3 + rand 6) }

# Rows of a writer's own, so that no two wait for each other in a circle.
sub written {
    my ($client, $next) = @_;
    my $kind = rand;
    my $first = $$next;
    if ($kind < 0.35) {
        $$next += 20;
        return "INSERT INTO points SELECT i * $writers + $client, random_point() FROM generate_series($first, $first + 19) AS i";
    }
    if ($kind < 0.6) {
        $$next += 3;
        return 'INSERT INTO documents VALUES ' . join(', ', map { '(' . (($first + $_) * $writers + $client) . ", '" . sentence() . "')" } 0 .. 2);
    }
    my $some = "id > 0 AND id % $writers = $client AND id % 23 = " . int rand 23;
    return "UPDATE points SET embedding = random_point() WHERE $some" if $kind < 0.75;
    return "UPDATE documents SET body = body || ' ' || '" . random_sentence(1) . "' WHERE $some" if $kind < 0.85;
    return "DELETE FROM " . one_of(qw(points documents)) . " WHERE $some";
}
sub search {
    my $kind = rand;
    my $text = sentence();
    my $limit = one_of(1, 10, 100);
    return "SELECT count(*) FROM (SELECT id FROM points ORDER BY embedding <-> random_point() LIMIT $limit) AS s" if $kind < 0.3;
    return "SELECT count(*) FROM (SELECT id FROM settled ORDER BY embedding <=> (SELECT random_point()) LIMIT $limit) AS s" if $kind < 0.4;
    return "SELECT count(*) FROM (SELECT id FROM documents ORDER BY body <=> '$text' LIMIT $limit) AS s" if $kind < 0.6;
    return "SELECT count(*) FROM (SELECT id FROM documents WHERE id % 20 = 1 ORDER BY body <=> '$text' LIMIT $limit) AS s" if $kind < 0.7;
    return "SELECT count(*) FROM semantic_search('documents_body', '$text', $limit)" if $kind < 0.8;
    return "SELECT count(*) FROM semantic_indexes" if $kind < 0.85;
    return "SELECT semantic_index_recall('" . one_of(@indexes) . "', 10, 20)" if $kind < 0.9;
    return "SELECT count(*) FROM semantic_embed_batch(array(SELECT '$text ' || i FROM generate_series(1, 40) AS i))" if $kind < 0.95;
    return "SELECT semantic_similarity('$text', '" . ('long text ' x 200) . "')";
}
sub kept {
    my $kind = rand;
    return 'VACUUM ' . one_of(qw(points documents settled)) if $kind < 0.3;
    return 'CHECKPOINT' if $kind < 0.45;
    return 'REINDEX INDEX CONCURRENTLY ' . one_of(@indexes) if $kind < 0.6;
    return 'REINDEX INDEX ' . one_of(@indexes) if $kind < 0.65;
    return 'CREATE INDEX late ON points USING semantic (embedding real_ip_ops); DROP INDEX late' if $kind < 0.8;
    return 'CREATE INDEX CONCURRENTLY late ON documents USING semantic (body); DROP INDEX CONCURRENTLY late' if $kind < 0.9;
    return q{CREATE TABLE passing AS SELECT * FROM settled LIMIT 600; CREATE INDEX ON passing USING semantic (embedding real_l2_ops);
        TRUNCATE passing; INSERT INTO passing SELECT * FROM settled LIMIT 5; DROP TABLE passing} if $kind < 0.97;
    return "SELECT count(*) FROM semantic_index_check('" . one_of(@indexes) . "')";
}

# Each returns what one client says next.
my $next_id = 1;
sub writer {
    my ($client) = @_;
    my @said = map { rand() < 0.8 ? written($client, \$next_id) : search() } 1 .. 1 + rand 3;
    return @said if rand() < 0.3;
    push @said, 'SAVEPOINT s', written($client, \$next_id), one_of('ROLLBACK TO s', 'RELEASE s'), search() if rand() < 0.3;
    return ('BEGIN', @said, rand() < 0.2 ? 'ROLLBACK' : 'COMMIT');
}
sub searcher { return search(); }
sub keeper { return kept(); }
# Gives up while the worker is at it, and ends a session of somebody else's.
sub canceller {
    return q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'searcher' ORDER BY random() LIMIT 1} if rand() < 0.05;
    return ('SET statement_timeout = ' . one_of(2, 5, 20, 50),
        rand() < 0.5 ? search() : "BEGIN; CREATE TEMPORARY TABLE mine AS SELECT * FROM settled; CREATE INDEX ON mine USING semantic (embedding real_l2_ops)",
        'ROLLBACK', 'RESET statement_timeout');
}

# ---- clients --------------------------------------------------------------------------------

my $directory = PostgreSQL::Test::Utils::tempdir;
my $main_process = $$;
# A server that restarts, what the canceller does, what either leaves undone, and REINDEX, which locks a table before its index.
my $expected = join '|', 'statement timeout', 'conflict with recovery', 'user request', 'administrator command', 'server closed the connection', 'connection to server',
  'shutting down', 'starting up', 'not yet accepting connections', 'connection to client lost', 'transaction is aborted', 'already exists',
  'does not exist', 'deadlock detected';
my $clients = 0;

# A process that runs psql after psql, each with some of what `says` returns, until the stop file is there.
sub start_client {
    my ($node, $says, $name) = @_;
    my $number = $clients++;
    my $log = "$directory/$name$number";
    my @psql = ($node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres') . " application_name=$name");
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    srand($seed + $number);
    $SIG{PIPE} = 'IGNORE';
    $next_id = 1 + 1_000_000 * $number;
    my $said = 0;
    my $setting = rand() < 0.5 ? 'SET enable_seqscan = off;' : '';
    until (-e "$directory/stop" || getppid() != $main_process) {
        open my $psql, '|-', 'sh', '-c', 'exec "$@" >/dev/null 2>>"$0"', $log, @psql or POSIX::_exit(1);
        my $sql = $setting;
        for (1 .. 10) { my @next = $says->(); $said += @next; $sql .= join(";\n", @next) . ";\n"; }
        print {$psql} $sql;
        close $psql or sleep 0.2;
    }
    append_to_file($log, "said: $said\n");
    POSIX::_exit(0);
}

sub restart_both {
    for my $node ($standby, $primary) { $node->stop('fast'); $node->start; }
    return;
}

my @processes;
for my $client (0 .. $writers - 1) { push @processes, start_client($primary, sub { writer($client) }, 'writer'); }
push @processes, start_client($primary, \&searcher, 'searcher') for 1 .. 2;
push @processes, start_client($primary, \&keeper, 'keeper');
push @processes, start_client($primary, \&canceller, 'canceller');
push @processes, start_client($standby, \&searcher, 'searcher') for 1 .. 2;

sleep $seconds;
restart_both();
sleep $seconds;
append_to_file("$directory/stop", '');
for my $pid (@processes) {
    waitpid $pid, 0;
    is($?, 0, 'a client ended well');
}
my (%said, @unexpected);
for my $log (glob "$directory/*[0-9]") {
    my ($name) = $log =~ /(\w+?)\d+$/;
    for my $line (split /\n/, slurp_file($log)) {
        if ($line =~ /^said: (\d+)/) { $said{$name} += $1 }
        elsif ($line =~ /ERROR|FATAL|PANIC/ && $line !~ /$expected/) { push @unexpected, "$name: $line" }
    }
}
diag('statements: ' . join ', ', map { "$_ $said{$_}" } sort keys %said);
is(join("\n", @unexpected), '', 'no client had an error that was not made');

# ---- afterwards ------------------------------------------------------------------------------

sub sound_on_both {
    my ($what) = @_;
    $primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
    for my $node ($primary, $standby) {
        my $rows = $node->safe_psql('postgres', q{SELECT string_agg(index || ' ' || state, ', ' ORDER BY index::text) FROM semantic_indexes
            WHERE index::text = ANY (array['documents_body', 'points_embedding', 'settled_embedding'])});
        is($rows, join(', ', map { "$_ ready" } @indexes), "$what: every index is ready on the " . $node->name);
        sound_index($node, $_, "$what, " . $node->name) for @indexes;
    }
    return;
}
sound_on_both('after the load');
restart_both();
sound_on_both('after a fast restart');
no_crash_in_log($_, $_->name) for $primary, $standby;
$standby->stop;
$primary->stop;
done_testing();
