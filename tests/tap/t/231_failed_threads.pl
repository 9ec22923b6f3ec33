# Threads of RocksDB's that fail: one that calls abort() takes only the index worker along, and files that cannot be
# merged do so seldom.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);
use PgSemantic::TestServer;

my $node = new_server('failed_threads', conf => q{
restart_after_crash = on
autovacuum = off
semantic.index_memory = 16
semantic.threads = 1
checkpoint_timeout = 1h
});
my $log_end = 0;

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub log_since { return substr slurp_file($node->logfile), $log_end }

sub no_restart {
    my ($what) = @_;
    return unlike(log_since(), qr/reinitializing|PANIC|terminated by signal/, "$what: the server's other processes went on");
}

# A message of the log since $log_end; true when it comes in time.
sub log_comes_to_say {
    my ($pattern, $seconds) = @_;
    my $end = time + $seconds;
    while (time < $end) {
        return 1 if log_since() =~ $pattern;
        wake_postmaster($node);
        sleep 0.05;
    }
    return 0;
}

# Rows of 4 kB in the index and of a few bytes in the table.
sql(q{
    CREATE FUNCTION wide(seed int) RETURNS real[] IMMUTABLE PARALLEL SAFE LANGUAGE sql AS
        $$ SELECT array(SELECT hashint4(seed * 1000 + i) / 2147483648.0 FROM generate_series(1, 1000) AS i)::real[] $$;
    CREATE TABLE points (id serial);
    CREATE INDEX points_wide ON points USING semantic (wide(id) real_l2_ops);
    CREATE TABLE plain (id int)});
sub insert { my ($count) = @_; return "INSERT INTO points SELECT FROM generate_series(1, $count)" }
my $nearest = 'SET enable_seqscan = off; SELECT id FROM points ORDER BY wide(id) <-> wide(7) LIMIT 1';
sql(insert(1000));
is(sql($nearest), '7', 'a search answers');

sub holds_points {
    my ($what) = @_;
    is(rows_through_index($node, 'points', 'wide(id) <-> wide(7)'), sql('SELECT id FROM points ORDER BY id'), "$what: the index has the table's rows");
    return sound_index($node, 'points_wide', $what);
}

# A statement has waited for the worker for a second.
sub writes_stand_still {
    my $waiting = q{SELECT query_start FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND backend_type = 'client backend'};
    my ($before, $end) = ('', time + 60);
    while (time < $end) {
        my $now = sql($waiting);
        return 1 if $now ne '' && $now eq $before;
        $before = $now;
        sleep 1;
    }
    return 0;
}

# ---- a thread that calls abort() -------------------------------------------------------------------------

# RocksDB's threads have every signal blocked, as abort() has not: a tracer unblocks SIGABRT, then sends it.
use constant { PTRACE => 101, TGKILL => 234, WAIT4 => 61, ANY_THREAD => 0x40000000 };
use constant { SEIZE => 0x4206, INTERRUPT => 0x4207, SET_MASK => 0x420b, DETACH => 17 };

sub trace { my ($request, $thread, $size, $data) = @_; return syscall(PTRACE, $request, $thread, $size, $data) == 0 }
# It stands still until it is let abort.
sub stop_thread {
    my ($thread) = @_;
    trace(SEIZE, $thread, 0, 0) or return 0;
    return trace(INTERRUPT, $thread, 0, 0) && syscall(WAIT4, $thread, 0, ANY_THREAD, 0) == $thread;
}
sub let_thread_abort {
    my ($process, $thread) = @_;
    my $mask = pack 'Q', ~(1 << (POSIX::SIGABRT - 1));
    return trace(SET_MASK, $thread, 8, $mask) && syscall(TGKILL, 0 + $process, $thread, POSIX::SIGABRT) == 0 && trace(DETACH, $thread, 0, 0);
}
sub thread_named {
    my ($process, $name) = @_;
    my ($found) = map { m{/(\d+)/comm$} } grep { slurp_file($_) eq "$name\n" } glob "/proc/$process/task/*/comm";
    return 0 + $found;  # syscall() takes a string for a buffer
}

my $bystander = open_session($node);
session_runs($bystander, 'BEGIN; INSERT INTO plain VALUES (1);');

sub while_a_thread_aborts {
    my ($what, $name, $meanwhile) = @_;
    $log_end = -s $node->logfile;
    my $worker = wait_for_worker($node);
    my $thread = thread_named($worker, $name);
    my $writer = open_session($node);
    ok(stop_thread($thread), "$what: $name is stopped");
    if ($meanwhile) {
        session_begins($writer, $meanwhile);
        ok(writes_stand_still(), "$what: so writes stand still");
    }
    ok(let_thread_abort($worker, $thread), "$what: and aborts");
    my $begin = time;
    ok(wait_until_gone($worker), "$what: the worker ends");
    cmp_ok(time - $begin, '<', 4, "$what: without waiting for what does not come");
    is(sql($nearest), '7', "$what: another one answers");
    if ($meanwhile) {
        ok(defined session_runs($writer, ''), "$what: who was writing goes on");
        is($writer->{error}, '', "$what: and sees nothing of it");
    }
    end_session($writer);
    like(log_since(), qr/opened again, because a thread of the index worker has called abort\(\)/, "$what: the log says why");
    like(log_since(), qr/background worker "pg_semantic index worker" \(PID $worker\) exited with exit code 1/, "$what: the worker ended in order");
    holds_points($what);
    return no_restart($what);
}

SKIP: {
    skip 'threads are stopped by the system calls of x86-64', 1 unless (POSIX::uname())[4] eq 'x86_64';
    my $worker = wait_for_worker($node);
    my $probe = thread_named($worker, 'rocksdb:low');
    skip 'other processes may not be traced here', 1 unless trace(SEIZE, $probe, 0, 0) && trace(INTERRUPT, $probe, 0, 0);
    syscall(WAIT4, $probe, 0, ANY_THREAD, 0);
    trace(DETACH, $probe, 0, 0);
    while_a_thread_aborts('a thread that merges files', 'rocksdb:low');
    # Writes wait for this one, the main thread's, too.
    while_a_thread_aborts('a thread that writes files', 'rocksdb:high', join(' ', (insert(300) . ';') x 6));
    is(session_runs($bystander, 'SELECT count(*) FROM plain;'), '1', 'a transaction that has begun before goes on');
}
end_session($bystander);

# ---- files that cannot be merged --------------------------------------------------------------------------

# Those that RocksDB flushes are small: the limit is met where they are merged, by this worker and by those that follow.
sub limit_files {
    my ($limit) = @_;
    my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
    return 2 == grep { system('prlimit', '--pid', $_, "--fsize=$limit:") == 0 } $postmaster, wait_for_worker($node);
}
$node->restart;
$log_end = -s $node->logfile;
ok(limit_files(20 << 20), 'no file may be longer than 20 MB');
my $failed = qr/opened again, because it could not be written/;
for (1 .. 60) {
    last if log_since() =~ $failed;
    $node->psql('postgres', insert(500));
}
like(log_since(), $failed, 'files that cannot be merged end the worker');
ok(log_comes_to_say(qr/not compacted for 10 seconds.*worker is ready/s, 10), 'the next one lets them be');
my $begin = time;
my $worker = wait_for_worker($node);
while (time - $begin < 6) {
    $node->psql('postgres', insert(200));
    is(sql($nearest), '7', 'a search answers');
    sleep 0.5;
}
is(worker_pid($node), $worker, 'it serves and writes');
# What was garbage is gone when they are merged: more rows make them too long again.
my $again = qr/compacted again.*$failed.*not compacted for 20 seconds/s;
for (1 .. 120) {
    last if log_comes_to_say($again, 0.5);
    $node->psql('postgres', insert(500)) if log_since() =~ /compacted again/;
}
like(log_since(), $again, 'it tries later, and then later still');
ok(limit_files('unlimited'), 'files may be longer');
holds_points('what was written meanwhile');
my $store = $node->data_dir . '/pg_semantic/pgsql_tmp.index';
ok(log_comes_to_say(qr/(compacted again.*){2}/s, 60), 'it tries again');
my $merged = 0;
for (1 .. 60) {
    $merged = grep { (-s $_ // 0) > 20 << 20 } glob "$store/*.sst" and last;
    $node->psql('postgres', insert(500));
    sleep 0.2;
}
ok($merged, 'files are merged');
is(sql($nearest), '7', 'a search answers');
my ($ends) = scalar(my @found = log_since() =~ /$failed/g);
is($ends, 2, 'no worker ended but for these two reasons');
no_restart('files that cannot be merged');
$node->stop;
done_testing();
