# A store that was closed in order and is put into the data directory by hand, while the server is stopped: an older one of its own,
# alone or with all that lies beside it, or another server's.  It is not taken for the one that was closed last.
use strict;
use warnings;
use File::Path qw(rmtree);
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;
use PgSemantic::TestServer;

my $node = new_server('put_back', conf => 'autovacuum = off');
my $root = $node->data_dir . '/pg_semantic';
my $store = "$root/pgsql_tmp.index";
my $kept = PostgreSQL::Test::Utils::tempdir;
sub sql { return $node->safe_psql('postgres', $_[0]) }
sub put { my ($from, $to) = @_; rmtree($to); PostgreSQL::Test::RecursiveCopy::copypath($from, $to); return }

sub fill {
    my ($server, $rows) = @_;
    $server->safe_psql('postgres', qq{
        CREATE TABLE points (id int, embedding real[]);
        INSERT INTO points SELECT i, array[i, 1, 2]::real[] FROM generate_series(1, $rows) AS i;
        CREATE INDEX points_embedding ON points USING semantic (embedding real_l2_ops)});
    return;
}
fill($node, 500);

my ($rows, $log_end) = (500, 0);
sub add_row { ++$rows; sql("INSERT INTO points VALUES ($rows, '{$rows,1,2}'); DELETE FROM points WHERE id = $rows - 400; VACUUM points"); return }
sub expected { return join "\n", $rows - 399 .. $rows }
sub log_since { return substr slurp_file($node->logfile), $log_end }
sub start { $log_end = -s $node->logfile; $node->start; wait_for_worker($node); return }
sub answers { return is(rows_through_index($node, 'points', "embedding <-> '{7,1,2}'"), expected(), "$_[0]: the index has the table's rows") }
sub is_repaired {
    my ($what) = @_;
    answers($what);
    sound_index($node, 'points_embedding', $what);
    like(log_since(), qr/repaired semantic index "points_embedding"/, "$what: it was repaired");
    return;
}
sub is_kept {
    my ($what) = @_;
    answers($what);
    unlike(log_since(), qr/behind the log|repairing/, "$what: without a repair");
    return;
}
sql('DELETE FROM points WHERE id <= 100; VACUUM points');

# ---- its own ends are known ----------------------------------------------------------------------
for my $mode ('fast', 'immediate') {
    add_row();
    $node->stop($mode);
    start();
    is_kept("stopped ($mode)");
}
for (1 .. 3) {
    $log_end = -s $node->logfile;
    $node->restart;
    kill_server($node);
    $node->start;
    is_kept('killed as soon as it has started');
}
$log_end = -s $node->logfile;
for (1 .. 2) {
    my $worker = wait_for_worker($node);
    kill 'TERM', $worker;
    wait_until_gone($worker);
}
is_kept('a worker that was terminated');
sql('CHECKPOINT');
is_kept('a checkpoint later');

# ---- an older store --------------------------------------------------------------------------------
$node->stop;
put($root, "$kept/root");
start();
is_kept('copied');
add_row();
$node->stop;
put("$kept/root/pgsql_tmp.index", $store);
start();
is_repaired('an older store');
like(log_since(), qr/another one than this server has closed last/, 'an older store: the log says so');

add_row();
$node->stop;
put("$kept/root", $root);
start();
is_repaired('an older store and its copies');
$node->restart;
$log_end = -s $node->logfile;
is_kept('repaired and restarted');

$node->stop;
put($root, "$kept/root");
start();
add_row();
sql('CHECKPOINT');
kill_server($node);
put("$kept/root/pgsql_tmp.index", $store);
start();
is_repaired('an older store after a crash');

# ---- another server's --------------------------------------------------------------------------------
my $other = new_server('other', conf => 'autovacuum = off');
fill($other, 5000);
$other->safe_psql('postgres', 'REINDEX TABLE points') for 1 .. 5;
$other->stop;
$node->stop;
put($other->data_dir . '/pg_semantic/pgsql_tmp.index', $store);
start();
answers("another server's store");
sound_index($node, 'points_embedding', "another server's store");

no_crash_in_log($node, 'put back');
$node->stop;
done_testing();
