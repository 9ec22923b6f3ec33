# What goes wrong around the index worker: a full disk, a directory that cannot be written, damaged files, no memory,
# a worker that is killed or stopped, backends that are.  A statement gets an ERROR or the right answer; nothing hangs,
# the server stays, and when the fault is gone everything goes on by itself.
use strict;
use warnings;
use File::Temp ();

# A small disk is a file system in memory, mounted in a name space of our own: this test goes on in there, before
# PostgreSQL's modules take the output to themselves.
BEGIN {
    if (!defined $ENV{PG_SEMANTIC_SMALL_DISK}) {
        my $disk = File::Temp::tempdir('small_disk_XXXX', DIR => $ENV{TESTDIR} // '/tmp');
        my ($user, $group) = ($<, (split ' ', $()[0]);
        my @enter = ('unshare', '--user', '--mount', '--map-root-user', 'sh', '-c',
            "mount -t tmpfs -o size=48m,mode=0700 tmpfs '$disk' && exec unshare --user --map-user=$user --map-group=$group \"\$@\"", 'sh');
        if (system("@{[ map { quotemeta } @enter ]} true 2>/dev/null") == 0) {
            $ENV{PG_SEMANTIC_SMALL_DISK} = $disk;
            exec @enter, $^X, (map { "-I$_" } @INC), $0;
        }
        $ENV{PG_SEMANTIC_SMALL_DISK} = '';
    }
}

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use PgSemantic::TestServer;

my $disk = $ENV{PG_SEMANTIC_SMALL_DISK};

my $conf = q{
restart_after_crash = on
autovacuum = off
wal_level = replica
max_connections = 90
semantic.index_memory = 16
semantic.threads = 1
checkpoint_timeout = 1h
};
my $node = new_server('faults', conf => $conf);
my $root = $node->data_dir . '/pg_semantic';
my $store = "$root/pgsql_tmp.index";

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Runs SQL: what it said, its SQLSTATE ('' when it went well) and how long that took.
sub attempt {
    my ($sql, $on) = @_;
    my ($output, $error) = ('', '');
    my $begin = time;
    # Not through a pipe, which breaks when psql cannot connect.
    my @psql = ($node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose', '-d', ($on // $node)->connstr('postgres'));
    IPC::Run::run([ 'timeout', '60', @psql, map { ('-c', $_) } split /; /, $sql ], '<', '/dev/null', '>', \$output, '2>', \$error);
    my $late = $? >> 8 == 124;
    chomp $output;
    my ($state) = $error =~ /(?:ERROR|FATAL):  (\w{5}):/;
    return { output => $output, error => $error, late => $late, seconds => time - $begin,
        state => $state // ($? ? 'lost' : '') };
}

# One test: it ends with one of these SQLSTATEs (a pattern), in time.
sub ends_with {
    my ($tried, $states, $seconds, $what) = @_;
    return ok(!$tried->{late} && $tried->{state} =~ /^(?:$states)$/ && $tried->{seconds} < $seconds, $what)
      || diag("SQLSTATE '$tried->{state}' after $tried->{seconds} s: $tried->{error}");
}

my $nearest = "SET enable_seqscan = off; SELECT id FROM points ORDER BY embedding <-> '{7,1,2}' LIMIT 1";
my $nearest_of_many = "SET enable_seqscan = off; SELECT id FROM many ORDER BY embedding <-> (SELECT embedding FROM many WHERE id = 77) LIMIT 1";

# The index has the rows of the table, which may be read while nothing can be written.
sub holds_its_table {
    my ($table, $index, $distance, $what) = @_;
    is(rows_through_index($node, $table, $distance), sql("SELECT id FROM $table ORDER BY id"), "$what: the index has the table's rows");
    return sound_index($node, $index, $what);
}
sub holds_points { return holds_its_table('points', 'points_embedding', "embedding <-> '{7,1,2}'", $_[0]) }

# Seconds until a statement goes well, or undef.
sub seconds_until_well {
    my ($sql, $most, $on) = @_;
    my $begin = time;
    while (time - $begin < $most) {
        return time - $begin if attempt($sql, $on)->{state} eq '';
        sleep 0.05;
    }
    return undef;
}

sub postmaster { my ($pid) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid'); return $pid }
sub log_end { return -s $node->logfile }
sub log_since { return substr slurp_file($node->logfile), $_[0] }

# Only the worker's own end may be seen in the log, never that of all processes.
sub no_restart_since {
    my ($log_end, $what) = @_;
    return unlike(log_since($log_end), qr/reinitializing|PANIC|terminated by signal/, "$what: the server's other processes went on");
}

sub limit_worker {
    my ($limit) = @_;
    return system('prlimit', '--pid', worker_pid($node), $limit) == 0;
}

sub fill_tables {
    sql(q{
        CREATE TABLE points (id serial, embedding real[]);
        INSERT INTO points (embedding) SELECT array[i, 1, 2]::real[] FROM generate_series(1, 500) AS i;
        CREATE INDEX points_embedding ON points USING semantic (embedding real_l2_ops);
        CREATE TABLE many (id int PRIMARY KEY, embedding real[]);
        INSERT INTO many SELECT i, array(SELECT random() FROM generate_series(1, 64) WHERE i > 0)::real[] FROM generate_series(1, 5000) AS i;
        CREATE INDEX many_embedding ON many USING semantic (embedding real_l2_ops);
        TRUNCATE plain});
    return;
}
my $build = 'CREATE INDEX another ON many USING semantic (embedding real_l2_ops)';
my $log_end = 0;
my $insert = "INSERT INTO points (embedding) SELECT array[i, 1, 2]::real[] FROM generate_series(1000, 1099) AS i";

# ---- a checkpoint that takes longer than the worker, which is done at once ------------------------------

$node->append_conf('postgresql.conf', "checkpoint_completion_target = 0.1\ncheckpoint_timeout = 30s\ncheckpoint_flush_after = 0");
$node->reload;
sql('CREATE TABLE plain (id int); INSERT INTO plain SELECT generate_series(1, 20000)');
ends_with(attempt("SELECT pg_backup_start('slow', false)"), '', 25, 'a slow checkpoint is completed');
$node->append_conf('postgresql.conf', 'checkpoint_timeout = 1h');
$node->reload;

# ---- another server, whose worker cannot open its store, for as long as a statement waits for it: half a minute --------

my $waiting = new_server('waiting', conf => $conf);
$waiting->safe_psql('postgres', "CREATE TABLE points (embedding real[]); CREATE INDEX ON points USING semantic (embedding)");
my $without_worker = $waiting->data_dir . '/pg_semantic/pgsql_tmp.index';
chmod 0500, $without_worker;
kill 'TERM', wait_for_worker($waiting);
my $wait = open_session($waiting);
session_begins($wait, "\\set VERBOSITY sqlstate\nINSERT INTO points VALUES ('{1,2}');");

# ---- a full disk ---------------------------------------------------------------------

if ($disk ne '') {
    $node->stop;
    rename $root, "$disk/pg_semantic" or system('mv', $root, "$disk/pg_semantic");
    symlink "$disk/pg_semantic", $root or die $!;
    $node->start;
} else {
    diag('no file system of our own can be mounted here: a full disk is only a limit for the size of files');
}
fill_tables();

# `foreseen`: no committed row waits for room, so that the index can be read; else a search may fail instead.
sub while_full {
    my ($what, $foreseen, $fill, $make_room) = @_;
    my $log_end = log_end();
    # A worker that is still opening its store would end for want of room, and the next one have no limit; one that has
    # yet to mark it would want to write PostgreSQL's log.
    ends_with(attempt($_), '', 10, "$what: before, $_") for $nearest, 'CHECKPOINT';
    sql('DELETE FROM points WHERE id % 50 = 3');
    $fill->();
    my $failed;
    for (1 .. 100) {
        $failed = attempt($insert);
        last if $failed->{state} ne '';
    }
    my $refused = '53100|58030';
    ends_with($failed, $refused, 10, "$what: an INSERT fails");
    like($failed->{error}, qr/DETAIL:  .*RocksDB says/, "$what: and says why");
    ends_with(attempt("UPDATE points SET embedding = '{999,1,2}' WHERE id = 9"), $refused, 10, "$what: an UPDATE fails");
    ends_with(attempt($build), $refused, 10, "$what: CREATE INDEX fails");
    ends_with(attempt('VACUUM points'), $refused, 10, "$what: VACUUM, which has something to remove, fails");
    ends_with(attempt('CHECKPOINT'), '', 10, "$what: a checkpoint is completed") for 1 .. 2;
    ends_with(attempt('INSERT INTO plain VALUES (1)'), '', 10, "$what: other tables are written");
    my $search = attempt($nearest);
    if ($foreseen || $search->{state} eq '') {
        is($search->{output}, '7', "$what: a search answers") or diag($search->{error});
        holds_points($what);
    } else {
        ends_with($search, $refused, 10, "$what: a search fails while the index lacks a committed row");
    }
    ends_with(attempt($insert), $refused, 10, "$what: an INSERT still fails");
    $make_room->();
    my $seconds = seconds_until_well($insert, 20);
    ok(defined $seconds, "$what: with room again INSERT works by itself");
    diag(sprintf '%s: %.1f s after there is room an INSERT works', $what, $seconds // -1);
    ends_with(attempt($_), '', 10, "$what, then room: $_") for 'VACUUM points', 'CHECKPOINT', $build, 'DROP INDEX another', $nearest_of_many;
    holds_points("$what, then room");
    sound_index($node, 'many_embedding', "$what, then room");
    no_restart_since($log_end, $what);
    return;
}

if ($disk ne '') {
    my $filler = "$disk/filler";
    while_full('a full disk', 1,
        sub {
            open my $file, '>', $filler or die $!;
            $file->autoflush(1);
            1 while syswrite $file, '0' x 65536;
            1 while syswrite $file, '0';
        },
        sub { unlink $filler });
}
if ($disk ne '') {
    $node->stop;
    unlink $root;
    system('mv', "$disk/pg_semantic", $root) == 0 or die 'cannot move the store back';
    $node->start;
}
while_full('no file may grow', 0, sub { ok(limit_worker('--fsize=4096:'), 'a limit for files') }, sub { limit_worker('--fsize=unlimited:') });

# ---- a directory that cannot be written --------------------------------------------------

sub while_unusable {
    my ($what, $directory, $mode) = @_;
    my $log_end = log_end();
    chmod $mode, $directory or die $!;
    kill 'TERM', wait_for_worker($node);
    for my $statement ($nearest, $insert, $build, 'VACUUM points', "SELECT * FROM semantic_index_check('points_embedding')", 'SELECT * FROM semantic_indexes') {
        ends_with(attempt("SET statement_timeout = '300ms'; $statement"), '57014', 5, "$what: $statement is cancelled in time");
    }
    ends_with(attempt($_), '', 5, "$what: $_") for 'SELECT count(*) FROM points', 'INSERT INTO plain VALUES (1)', 'CHECKPOINT';
    chmod 0700, $directory or die $!;
    my $seconds = seconds_until_well($nearest, 20);
    ok(defined $seconds, "$what: the worker comes back by itself");
    diag(sprintf '%s: %.1f s after it is put right a search answers', $what, $seconds // -1);
    ends_with(attempt($insert), '', 5, "$what: then an INSERT works");
    holds_points("$what, then not");
    no_restart_since($log_end, $what);
    return;
}
while_unusable('a store that cannot be written', $store, 0500);
while_unusable('a store that cannot be read', $store, 0000);
while_unusable('a directory that cannot be read', $root, 0000);

chmod 0500, $store;
$node->restart;
is(sql('SELECT count(*) > 0 FROM points'), 't', 'a server whose store cannot be written starts');
kill_server($node);
$node->start;
is(sql('SELECT count(*) > 0 FROM points'), 't', 'so it does after a crash');
$node->restart;
chmod 0700, $store;
ok(defined seconds_until_well($nearest, 20), 'and the worker comes when it can');
is(sql($nearest), '7', 'with the right answer');
holds_points('after a start without a worker');

# ---- damaged files -------------------------------------------------------------------------

# Overwrites the middle of every file with vectors, codes or rows; returns how many.
sub damage_files {
    my $count = 0;
    for my $path (glob "$store/*.sst") {
        my $size = -s $path;
        open my $file, '+<:raw', $path or next;
        for my $at (0.2, 0.5, 0.7) {
            seek $file, int($size * $at), 0;
            print $file chr(rand 256) x 64;
        }
        close $file;
        $count++;
    }
    return $count;
}
# The id of the nearest, from a query that reads nothing of the table but what it finds.
sub answers_rightly {
    my ($what) = @_;
    for my $query ($nearest, $nearest_of_many) {
        my $tried = attempt($query);
        is($tried->{output}, $query eq $nearest ? '7' : '77', "$what: the right answer") or diag($tried->{error});
    }
    return;
}
for my $running (0, 1) {
    my $what = $running ? 'damaged while the server runs' : 'damaged while the server is stopped';
    sql('REINDEX TABLE many; REINDEX TABLE points; CHECKPOINT');
    sql("SET semantic.recall = 1; $nearest_of_many") if $running;
    $node->stop if !$running;
    cmp_ok(damage_files(), '>', 0, $what);
    if ($running) {
        my $pid = wait_for_worker($node);
        kill 'TERM', $pid;
        wait_until_gone($pid);
    } else {
        $node->start;
    }
    $log_end = log_end();
    my $reader = open_session($node);
    session_begins($reader, "SET semantic.recall = 1; $nearest_of_many;");
    answers_rightly($what);
    is(session_runs($reader, ''), '77', "$what: another session, too");
    end_session($reader);
    sql("SELECT semantic_index_repair('$_')") for qw(points_embedding many_embedding);
    my ($repairs) = scalar(my @found = log_since($log_end) =~ /repaired semantic index "many_embedding"/g);
    cmp_ok($repairs, '<=', 2, "$what: it is not repaired again and again ($repairs times)");
    sql("INSERT INTO many SELECT i, array(SELECT random() FROM generate_series(1, 64) WHERE i > 0)::real[] FROM generate_series(10001, 11000) AS i; DELETE FROM many WHERE id > 10000");
    sql('VACUUM many; VACUUM points; CHECKPOINT');
    answers_rightly("$what, repaired");
    holds_points("$what, repaired");
    holds_its_table('many', 'many_embedding', "embedding <-> (SELECT embedding FROM many WHERE id = 77)", "$what, repaired");
    no_restart_since($log_end, $what);
}

# ---- a store that can no longer be opened: the copy that stands in for it lacks what came after it ------------------

sql('CHECKPOINT');
sql($insert);
$log_end = log_end();
append_to_file("$store/CURRENT", 'damaged');
my $last_worker = wait_for_worker($node);
kill 'TERM', $last_worker;
wait_until_gone($last_worker);
is(sql($nearest), '7', 'a store that can no longer be opened: a search answers');
like(log_since($log_end), qr/is taken from its copy/, 'its copy has taken its place');
holds_points('a store that can no longer be opened');
no_restart_since($log_end, 'a store that can no longer be opened');

# ---- the worker is killed ----------------------------------------------------------------------

$log_end = log_end();
my @clients = map { open_session($node) } 1 .. 4;
session_begins($clients[0], "SELECT semantic_index_recall('many_embedding', 10, 1000);" x 5);
session_begins($clients[1], "$nearest;" x 200);
session_begins($clients[2], "$insert;" x 100);
session_begins($clients[3], "UPDATE points SET embedding = embedding WHERE id < 50; VACUUM points;" x 20);
my @back;
for (1 .. 3) {
    my $pid = wait_for_worker($node);
    sleep 0.2;
    kill 'TERM', $pid;
    my $begin = time;
    wait_until_gone($pid);
    my $gone = time;
    my $seconds = seconds_until_well($nearest, 20);
    push @back, defined $seconds ? $seconds : 99;
}
diag(sprintf 'after SIGTERM of the worker a search answers in %s s', join ', ', map { sprintf '%.2f', $_ } @back);
cmp_ok((sort { $b <=> $a } @back)[0], '<', 10, 'after SIGTERM the worker is back soon');
for (0 .. 3) {
    my $output = session_runs($clients[$_], '');
    ok(defined $output, "client $_ gets through");
    is($clients[$_]{error}, '', "client $_, whose requests were cut off, sees nothing of it");
}
end_session($_) for @clients;
holds_points('after SIGTERM of the worker');

my $builder = open_session($node);
session_begins($builder, "\\set VERBOSITY sqlstate\n$build;");
sleep 0.1;
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_semantic index worker'");
ok(defined session_runs($builder, ''), 'CREATE INDEX ends while the worker is terminated');
like($builder->{error}, qr/^(ERROR:  5\w{4}\n)?$/, 'well, or with an error');
end_session($builder);
ends_with(attempt("DROP INDEX IF EXISTS another; $build; DROP INDEX another"), '', 20, 'and can be done again');
no_restart_since($log_end, 'SIGTERM');

kill 'KILL', wait_for_worker($node);
my $seconds = seconds_until_well($nearest, 30);
ok(defined $seconds, 'after SIGKILL of the worker all comes back');
diag(sprintf 'after SIGKILL of the worker a search answers in %.2f s', $seconds // -1);
holds_points('after SIGKILL of the worker');

# ---- the worker is stopped --------------------------------------------------------------------------

$log_end = log_end();
sql('DELETE FROM points WHERE id % 50 = 4');
sql('CREATE TABLE dropped AS SELECT * FROM points; CREATE INDEX ON dropped USING semantic (embedding real_l2_ops)');
my $stopped = wait_for_worker($node);
kill 'STOP', $stopped;
my $limited = "SET statement_timeout = '300ms'";
for my $statement ($nearest, $insert, "BEGIN; $insert; $nearest", "BEGIN; $insert; COMMIT", $build, 'REINDEX INDEX points_embedding', 'VACUUM points',
    "SELECT * FROM semantic_index_check('points_embedding')", "SELECT semantic_index_repair('points_embedding')") {
    ends_with(attempt("$limited; $statement"), '57014', 5, "a stopped worker: $statement is cancelled in time");
}
ends_with(attempt("$limited; DROP TABLE dropped"), '', 5, 'DROP does not need it');
my $ended = open_session($node);
session_begins($ended, $insert . ';');
my $waiters = "FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND backend_type = 'client backend'";
$node->poll_query_until('postgres', "SELECT count(*) = 1 $waiters");
sql("SELECT pg_terminate_backend(pid) $waiters");
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 $waiters"), 'pg_terminate_backend reaches a commit that waits');
end_session($ended);
kill 'CONT', $stopped;
ok(defined seconds_until_well($nearest, 10), 'it goes on');
ends_with(attempt('VACUUM points'), '', 10, 'VACUUM, too');
holds_points('after the worker was stopped');
no_restart_since($log_end, 'a stopped worker');

# What was given up is in the log, but not for whoever replays it.  Its rows' places go to rows that a partial index must
# not have.
sql(q{
    CREATE TABLE parts (id serial, embedding real[], wanted bool);
    CREATE INDEX parts_wanted ON parts USING semantic (embedding real_l2_ops) WHERE wanted;
    CHECKPOINT});
$stopped = wait_for_worker($node);
kill 'STOP', $stopped;
ends_with(attempt("$limited; INSERT INTO parts (embedding, wanted) SELECT array[i, 1]::real[], true FROM generate_series(1, 20) AS i"), '57014', 5, 'a commit is cancelled');
kill 'CONT', $stopped;
sql('VACUUM parts');
sql('INSERT INTO parts (embedding, wanted) SELECT array[i, 1]::real[], i > 10 FROM generate_series(1, 20) AS i');
is(sql("SELECT count(*) FROM parts WHERE ctid <= '(0,20)'"), '20', 'other rows have the places of those that were given up');
my $wanted = q{SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM parts WHERE wanted ORDER BY embedding <-> '{3,1}') AS found};
is(sql($wanted), '10', 'a partial index has only its own');
crash_server($node);
is(sql($wanted), '10', 'also after the log was replayed');
sound_index($node, 'parts_wanted', 'after the log was replayed');

# ---- backends are killed ------------------------------------------------------------------------------

$log_end = log_end();
my $stop_file = $node->basedir . '/stop';
my @psql = ($node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres'));
my @loops;
for my $work ($nearest, "SELECT semantic_index_recall('many_embedding', 10, 200)", $insert, "BEGIN; $insert; $nearest; ROLLBACK") {
    for (1 .. 2) {
        my $pid = fork // die $!;
        if ($pid == 0) {
            open STDOUT, '>', '/dev/null';
            open STDERR, '>', '/dev/null';
            exec 'sh', '-c', 'file=$1; shift; while [ ! -e "$file" ]; do "$@"; done', 'sh', $stop_file, @psql, '-c', $work;
        }
        push @loops, $pid;
    }
}
my $killed = sql(q{
    CREATE PROCEDURE kill_some(wanted int) LANGUAGE plpgsql AS $$
    DECLARE killed int := 0; ended timestamptz := clock_timestamp() + interval '20 s';
    BEGIN
        WHILE killed < wanted AND clock_timestamp() < ended LOOP
            PERFORM pg_stat_clear_snapshot();
            killed := killed + (SELECT count(pg_terminate_backend(pid)) FROM (
                SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND wait_event_type = 'Extension' ORDER BY random() LIMIT 1) AS victims);
            PERFORM pg_sleep(0.005);
        END LOOP;
        RAISE NOTICE '%', killed;
        CREATE TABLE killed AS SELECT killed AS count;
    END $$;
    CALL kill_some(200);
    SELECT count FROM killed});
cmp_ok($killed, '>=', 200, "$killed backends were terminated with requests in flight");
append_to_file($stop_file, '');
waitpid $_, 0 for @loops;
ends_with(attempt('VACUUM points'), '', 10, 'then VACUUM waits for nothing');
no_restart_since($log_end, 'terminated backends');

# Every slot is free: with the worker stopped as many requests as there are slots sleep on theirs, the others wait.
$stopped = wait_for_worker($node);
kill 'STOP', $stopped;
my @searches = map { open_session($node) } 1 .. 70;
session_begins($_, "$nearest;") for @searches;
$node->poll_query_until('postgres', "SELECT count(*) = 70 $waiters");
my @waiting = split /\n/, sql("SELECT pid $waiters");
my $readable = -r "/proc/$waiting[0]/wchan" && slurp_file("/proc/$waiting[0]/wchan") =~ /\w\w/;
SKIP: {
    skip 'what a process sleeps on cannot be seen here', 1 unless $readable;
    # Who has a slot sleeps on it; only who waits for one sleeps on his latch.
    my %without;
    for (1 .. 20) {
        $without{$_} = 1 for grep { slurp_file("/proc/$_/wchan") =~ /ep_poll|epoll/ } @waiting;
        sleep 0.02;
    }
    is(scalar(keys %without), 6, 'six of seventy wait for a slot: none is lost');
}
kill 'CONT', $stopped;
is(join(',', map { session_runs($_, '') // 'lost' } @searches), join(',', ('7') x 70), 'seventy searches at once');
end_session($_) for @searches;
holds_points('after backends were terminated');

for my $round (1 .. 5) {
    my @some = map { open_session($node) } 1 .. 4;
    session_begins($_, ("$insert;\n$nearest;\n") x 5) for @some;
    sleep 0.05 + rand 0.1;
    my @pids = backend_pids($node);
    kill 'KILL', $pids[ rand @pids ] if @pids;
    end_session($_) for @some;
    ok(defined seconds_until_well($nearest, 30), "round $round: kill -9 of a backend");
}
holds_points('after kill -9 of backends');

# ---- no memory for the worker -------------------------------------------------------------------------

sub no_more_memory {
    my ($pid, $spare) = @_;
    my ($size) = slurp_file("/proc/$pid/status") =~ /VmSize:\s+(\d+) kB/;
    return limit_worker('--as=' . ($size * 1024 + $spare) . ':');
}
for my $spare (0, 16 << 20) {
    my $pid = wait_for_worker($node);
    ok(no_more_memory($pid, $spare), "a worker that gets no more than $spare bytes");
    for my $statement ($build, 'DROP INDEX IF EXISTS another', $insert, "SELECT semantic_index_recall('many_embedding', 10, 1000)", $nearest, 'SELECT count(*) FROM (SELECT id FROM many ORDER BY embedding <-> (SELECT embedding FROM many WHERE id = 77) LIMIT 4000) AS found', 'VACUUM points', 'CHECKPOINT') {
        my $tried = attempt("SET enable_seqscan = off; $statement");
        ends_with($tried, '|53200|5[78]\w{3}|lost', 40, "without memory: $statement");
    }
    limit_worker('--as=unlimited:') if defined worker_pid($node);
    ok(defined seconds_until_well("DROP INDEX IF EXISTS another; $build; DROP INDEX another; $insert", 30), 'with memory again everything works');
    holds_points('after a lack of memory');
    # All processes may have gone with the worker; an index that is behind then is repaired by who reads it.
    is(sql($nearest_of_many), '77', 'after a lack of memory: the right answer');
    sound_index($node, 'many_embedding', 'after a lack of memory');
}
unlike(log_since(0), qr/PANIC/, 'no PANIC');

# ---- the other server -------------------------------------------------------------------------------------

session_runs($wait, '');
like($wait->{error}, qr/ERROR:  55000/, 'a statement does not wait for ever for a worker that does not come');
end_session($wait);
chmod 0700, $without_worker;
ok(defined seconds_until_well("INSERT INTO points VALUES ('{1,2}')", 20, $waiting), 'the other server goes on');
$waiting->stop;
no_crash_in_log($waiting, 'waiting');
$node->stop;
done_testing();
