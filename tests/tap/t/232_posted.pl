# Insertions that nobody waits for: a commit leaves its rows with the index worker.  Whatever comes after it sees them,
# and nothing that befalls the worker or the server loses one.  A stopped worker stands for a slow one.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use PgSemantic::TestServer;

my $node = new_server('posted', conf => "restart_after_crash = on\nautovacuum = off\ncheckpoint_timeout = 1h\nsemantic.index_memory = 16");
sub sql { return $node->safe_psql('postgres', $_[0]) }
sql(q{
    CREATE TABLE points (id int PRIMARY KEY, embedding real[]);
    INSERT INTO points SELECT i, array[i, 1, 2]::real[] FROM generate_series(1, 500) AS i;
    CREATE INDEX points_embedding ON points USING semantic (embedding real_l2_ops)});

my $next = 1000;
sub insertion { $next++; return "INSERT INTO points VALUES ($next, '{$next,1,2}')" }
sub nearest { return "SET enable_seqscan = off; SELECT id FROM points ORDER BY embedding <-> '{$_[0],1,2}' LIMIT 1" }

# A session that has inserted once: it knows how wide the vectors are, and asks the worker for nothing.
sub open_inserter {
    my $session = open_session($node);
    session_runs($session, "\\set VERBOSITY sqlstate\n" . insertion() . ';');
    return $session;
}
sub stop_worker {
    my $pid = wait_for_worker($node);
    # Not before it takes what is posted.
    $node->poll_query_until('postgres', "SELECT count(*) >= 0 FROM semantic_indexes");
    sleep 0.3;
    kill 'STOP', $pid;
    return $pid;
}
sub commits_at_once {
    my ($session, $what) = @_;
    my $begin = time;
    my $output = session_runs($session, "SET statement_timeout = '20s';" . insertion() . ';');
    is($session->{error} . ($output // 'lost'), '', "$what: a row is committed while the worker is stopped");
    cmp_ok(time - $begin, '<', 10, "$what: at once");
    return;
}
sub waits {
    my ($session, $what) = @_;
    my $waiting = "FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND backend_type = 'client backend'";
    return ok($node->poll_query_until('postgres', "SELECT count(*) = 1 $waiting"), "$what waits");
}
# What SQL prints as soon as it ends without an error, within half a minute.
sub when_it_goes_well {
    my ($sql) = @_;
    for (1 .. 300) {
        my ($status, $output) = $node->psql('postgres', $sql);
        return $output if $status == 0;
        sleep 0.1;
    }
    return 'an error';
}
my $log_end = 0;
sub holds_all {
    my ($what) = @_;
    is(rows_through_index($node, 'points', "embedding <-> '{7,1,2}'"), sql('SELECT id FROM points ORDER BY id'), "$what: the index has the table's rows");
    sound_index($node, 'points_embedding', $what);
    my $log = substr slurp_file($node->logfile), $log_end;
    unlike($log, qr/repairing semantic index|is behind the log/, "$what: and was not repaired");
    $log_end = -s $node->logfile;
    return;
}

# ---- whoever reads sees what was committed --------------------------------------------------

my $inserter = open_inserter();
my $stopped = stop_worker();
commits_at_once($inserter, 'one row');
is(sql("SELECT count(*) FROM points WHERE id = $next"), '1', 'others see it in the table');
my $reader = open_session($node);
session_begins($reader, nearest($next) . ';');
waits($reader, 'a search');
kill 'CONT', $stopped;
is(session_runs($reader, ''), $next, 'and finds the row');
holds_all('read later');

$stopped = stop_worker();
session_runs($inserter, 'BEGIN;' . insertion() . "; PREPARE TRANSACTION 'posted';");
session_begins($reader, nearest($next) . ';');
waits($reader, 'a search beside a prepared transaction');
kill 'CONT', $stopped;
isnt(session_runs($reader, ''), $next, 'does not see its row');
sql("COMMIT PREPARED 'posted'");
is(session_runs($reader, nearest($next) . ';'), $next, 'but when it is committed');

# A session's own, in its transaction, after a rolled-back savepoint.
$stopped = stop_worker();
session_begins($inserter, 'BEGIN; SAVEPOINT one;' . insertion() . '; ROLLBACK TO one;' . insertion() . ';' . nearest($next) . '; COMMIT;');
waits($inserter, 'a search of the same transaction');
kill 'CONT', $stopped;
is(session_runs($inserter, ''), $next, 'and finds its row');
holds_all('savepoints');

# ---- more than there is room for ----------------------------------------------------------------

$stopped = stop_worker();
my $before = $next;
session_begins($inserter, join '', map { insertion() . ';' } 1 .. 200);
waits($inserter, 'the insertion for which there is no room');
cmp_ok(sql("SELECT count(*) FROM points WHERE id > $before"), '>=', 8, 'after others, which are committed');
session_begins($reader, "SET statement_timeout = '300ms';" . nearest($next) . "; RESET statement_timeout;");
session_runs($reader, '');
like($reader->{error}, qr/canceling statement due to statement timeout/, 'a search that waits can be cancelled');
kill 'CONT', $stopped;
is(session_runs($inserter, ''), '', 'all are inserted');
is($inserter->{error}, '', 'without an error');
holds_all('many');

# ---- rows that are gone again ---------------------------------------------------------------------

sql('VACUUM points');
$stopped = stop_worker();
commits_at_once($inserter, 'a row that is deleted');
my $place = sql("SELECT ctid FROM points WHERE id = $next");
sql("DELETE FROM points WHERE id = $next");
session_begins($reader, 'VACUUM points;');
waits($reader, 'VACUUM');
kill 'CONT', $stopped;
session_runs($reader, '');
is(session_runs($inserter, insertion() . "; SELECT ctid FROM points WHERE id = $next;"), $place, 'its place goes to another row');
is(sql(nearest($next)), $next, 'which is found there');
holds_all('after VACUUM');

# ---- checkpoints, crashes, and ends in order ------------------------------------------------------------

$stopped = stop_worker();
commits_at_once($inserter, 'before a checkpoint');
session_begins($reader, 'CHECKPOINT;');
sleep 1;
is(sql("SELECT count(*) FROM pg_stat_activity WHERE query = 'CHECKPOINT;' AND state = 'active'"), '1', 'a checkpoint waits for what is posted');
kill 'CONT', $stopped;
session_runs($reader, '');
end_session($_) for $inserter, $reader;
crash_server($node);
holds_all('a crash after the checkpoint');

for my $rows (1, 20) {
    $inserter = open_inserter();
    $stopped = stop_worker();
    commits_at_once($inserter, 'before a crash') for 1 .. $rows;
    my $last = $next;
    $node->kill9;
    kill 'KILL', $stopped;
    wait_until_gone($stopped);
    end_session($inserter);
    $node->start;
    is(sql(nearest($last)), $last, "$rows posted before a crash: the log has what the worker had not taken");
    holds_all("$rows posted before a crash");

    $inserter = open_inserter();
    $stopped = stop_worker();
    commits_at_once($inserter, 'before SIGKILL of the worker') for 1 .. $rows;
    $last = $next;
    kill 'KILL', $stopped;
    wait_until_gone($stopped);
    end_session($inserter);
    ok($node->poll_query_until('postgres', 'SELECT true'), 'the server comes back');
    is(sql(nearest($last)), $last, "$rows posted before SIGKILL of the worker: the row is found");
    holds_all("$rows posted before SIGKILL of the worker");

    $inserter = open_inserter();
    $stopped = stop_worker();
    commits_at_once($inserter, 'before SIGTERM of the worker') for 1 .. $rows;
    kill 'TERM', $stopped;
    session_begins($inserter, insertion() . ';' . nearest($next) . ';');
    kill 'CONT', $stopped;
    is(session_runs($inserter, ''), $next, "$rows posted before SIGTERM of the worker: the session goes on");
    wait_until_gone($stopped);
    wait_for_worker($node);
    holds_all("$rows posted before SIGTERM of the worker");
    end_session($inserter);

    for my $mode ('fast', 'immediate') {
        $inserter = open_inserter();
        $stopped = stop_worker();
        commits_at_once($inserter, "before a stop, $mode") for 1 .. $rows;
        $last = $next;
        my $pid = fork // die $!;
        if ($pid == 0) {
            sleep 1;
            kill 'CONT', $stopped;
            exec 'true';
        }
        $node->stop($mode);
        waitpid $pid, 0;
        end_session($inserter);
        $node->start;
        is(sql(nearest($last)), $last, "$rows posted before a stop, $mode: the row is found");
        holds_all("$rows posted before a stop, $mode");
    }
}

# ---- a store that cannot be written any more, for a reason nobody could foresee -------------------------------------

$inserter = open_inserter();
my $worker = wait_for_worker($node);
sleep 0.3;
system('prlimit', '--pid', $worker, '--fsize=4096:') == 0 or die;
my @committed;
for (1 .. 2000) {
    session_runs($inserter, insertion() . ';');
    last if $inserter->{error} ne '';
    push @committed, $next;
}
like($inserter->{error}, qr/^ERROR:  (53100|58030)$/m, 'an insertion fails');
my ($status, $output, $error) = $node->psql('postgres', nearest($committed[-1]));
if ($status == 0) {
    is($output, $committed[-1], 'a search finds what is committed');
} else {
    like($error, qr/ERROR: .*semantic index/, 'a search fails while a committed row is not in the index');
}
is(sql('SELECT count(*) FROM points WHERE id = 7'), '1', 'the table can be read');
is(sql('CHECKPOINT; SELECT 1'), '1', 'a checkpoint is completed');
system('prlimit', '--pid', wait_for_worker($node), '--fsize=unlimited:') == 0 or die;
is(when_it_goes_well(nearest($committed[-1])), $committed[-1], 'when the store can be written the row is found');
is(when_it_goes_well(insertion()), '', 'and insertions go well');
holds_all('a store that could not be written');
end_session($inserter);

no_crash_in_log($node, 'at the end');
$node->stop;
done_testing();
