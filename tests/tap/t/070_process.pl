# What the operating system sees: one thread and no compute library in the
# postmaster, one worker, one copy of the weights; and what works without the preload.
use strict;
use warnings;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use PgSemantic::TestServer;
use Time::HiRes qw(sleep time);

my $node = new_server('process');
my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
my $worker = wait_for_worker($node);
ok(defined $worker, 'there is one index worker');

my $first = $node->background_psql('postgres');
my $second = $node->background_psql('postgres');
my %pid_of = map { $_ => $_->query_safe('SELECT pg_backend_pid()') } ($first, $second);
$_->query_safe("SELECT array_length(semantic_embed('the weights of the model are mapped'), 1)") for ($first, $second);
$first->query_safe("CREATE TABLE documents (body text)");
$first->query_safe("INSERT INTO documents SELECT 'text number ' || i FROM generate_series(1, 300) AS i");
$first->query_safe('CREATE INDEX ON documents USING semantic (body)');
is($second->query_safe("SELECT body FROM documents ORDER BY body <=> 'text number 7' LIMIT 1"), 'text number 7', 'embedding and search work');

# ---- the postmaster -----------------------------------------------------------
is(thread_count($postmaster), 1, 'the postmaster has one thread');
my @heavy = grep { m{/lib(openblas|blas|gomp|faiss|rocksdb)|pg_semantic_worker} } mapped_files($postmaster);
is("@heavy", '', 'and none of the compute libraries');
@heavy = grep { m{/lib(faiss|rocksdb)|pg_semantic_worker} } mapped_files($pid_of{$first});
is("@heavy", '', 'a backend has no FAISS and no RocksDB');
ok((grep { m{pg_semantic_worker} } mapped_files($worker)), 'the worker has them');

# ---- the weights --------------------------------------------------------------
my %weights = map { $_ => mapping_sizes($pid_of{$_}, qr{/pg_semantic/models/}) } ($first, $second);
cmp_ok($weights{$first}{Rss} // 0, '>', 1000, 'a session has the model file mapped');
is($weights{$_}{Private_Dirty}, 0, 'a session has no private copy of the weights') for ($first, $second);
my $together = $weights{$first}{Pss} + $weights{$second}{Pss};
my $larger = (sort { $b <=> $a } map { $weights{$_}{Rss} } ($first, $second))[0];
diag("weights: resident $weights{$first}{Rss} and $weights{$second}{Rss} kB, proportional shares $weights{$first}{Pss} and $weights{$second}{Pss} kB");
cmp_ok($together, '<=', 1.1 * $larger, 'two sessions share one copy of the weights');

# ---- threads ----------------------------------------------------------------------
# A call's threads are semantic.threads, a build's those that a parallel B-tree
# build has processes, and each no more than there are processors.
my ($listed) = slurp_file('/proc/self/status') =~ /^Cpus_allowed_list:\s*(\S+)/m;
my $processors = 0;
$processors += /(\d+)-(\d+)/ ? $2 - $1 + 1 : 1 foreach split /,/, $listed;

# Encoder threads of a new session after some statements.
sub encoder_threads_after {
    my (@statements) = @_;
    my $session = $node->background_psql('postgres');
    $session->query_safe($_) for @statements;
    my $count = encoder_thread_count($session->query_safe('SELECT pg_backend_pid()'));
    $session->quit;
    return $count;
}
my $embeds_one = q{SELECT cardinality(semantic_embed(repeat('one text that threads share ', 80)))};
my $builds = 'REINDEX INDEX documents_body_idx';
is(encoder_threads_after('SET semantic.threads = 2', 'SELECT count(*) FROM semantic_models'), 0, 'a session that embeds nothing has no thread of the encoder');
is(encoder_threads_after('SET semantic.threads = 1', $embeds_one), 0, 'one thread: the session itself');
is(encoder_threads_after('SET semantic.threads = 2', $embeds_one), 1, 'two threads share one text');
is(encoder_threads_after('SET semantic.threads = 2', 'SET max_parallel_maintenance_workers = 0', $builds), 0,
    'no maintenance workers: a build embeds by itself');
is(encoder_threads_after('SET semantic.threads = 1', 'SET max_parallel_workers = 0', $builds), 0, 'no parallel workers: the same');
is(encoder_threads_after('SET semantic.threads = 1', 'SET max_parallel_maintenance_workers = 1', $builds),
    $processors > 1 ? 1 : 0, 'a maintenance worker: a thread of a build, whatever semantic.threads says');
cmp_ok(encoder_threads_after('SET max_parallel_maintenance_workers = 64', 'SET max_parallel_workers = 64', $builds), '<', $processors,
    'and no more threads than processors');

# Signals and the session's end, while threads share one text.  A text after the
# other, each by two threads: one model's call is too short to be caught in.
my $endless = q{DO $$ BEGIN LOOP PERFORM semantic_embed(repeat('one text that threads share ', 80)); END LOOP; END $$};
foreach my $ending (qw(cancel terminate)) {
    my $session = IPC::Run::start(
        [ $node->installed_command('psql'), '-X', '-d', $node->connstr('postgres'), '-c', "SET application_name = 'embeds'",
            '-c', 'SET semantic.threads = 2', '-c', $endless ],
        '<', '/dev/null', '>', \my $ignored, '2>', \my $said);
    ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity
        WHERE application_name = 'embeds' AND query LIKE 'DO%' AND state = 'active'}), "$ending: a session embeds");
    my $pid = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'embeds'});
    my $until = time + $PostgreSQL::Test::Utils::timeout_default;
    sleep 0.02 while encoder_thread_count($pid) == 0 && time < $until;
    is(encoder_thread_count($pid), 1, "$ending: on two threads");
    # A thread of the encoder takes none of the server's signals.
    my ($comm) = grep { slurp_file($_) eq "pg_semantic\n" } glob "/proc/$pid/task/*/comm";
    my ($blocked) = slurp_file($comm =~ s/comm$/status/r) =~ /^SigBlk:\s*([0-9a-f]+)/m;
    my $server_signals = 0;
    $server_signals |= 1 << ($_ - 1) for 1, 2, 3, 10, 12, 14, 15, 23;  # HUP INT QUIT USR1 USR2 ALRM TERM URG
    is(hex($blocked) & $server_signals, $server_signals, "$ending: which blocks the server's signals");
    is($node->safe_psql('postgres', "SELECT pg_${ending}_backend($pid)"), 't', "$ending: the session is told");
    $session->finish;
    like($said, $ending eq 'cancel' ? qr/canceling statement due to user request/ : qr/terminating connection due to administrator command/,
        "$ending: and ends");
    ok(wait_until_gone($pid), "$ending: with its threads");
}

# ---- the worker comes back ------------------------------------------------------
$_->quit for ($first, $second);
kill 'TERM', $worker;
wait_until_gone($worker);
ok(defined wait_for_worker($node), 'a worker that was terminated is started again');
is($node->safe_psql('postgres', "SELECT body FROM documents ORDER BY body <=> 'text number 9' LIMIT 1"), 'text number 9',
    'and answers');
$node->stop;
ok(wait_until_gone($worker), 'the worker goes with the server');
no_crash_in_log($node, 'process');

# ---- without the preload --------------------------------------------------------
my $plain = new_server('plain', preload => 0);
is($plain->safe_psql('postgres', "SELECT array_length(semantic_embed('hello'), 1) > 0"), 't', 'functions work without the preload');
is($plain->safe_psql('postgres', "SELECT semantic_similarity('a cat', 'a cat') > 0.999"), 't', 'so does similarity');
is($plain->safe_psql('postgres', q{SELECT array['{0,3}'::real[] <-> '{4,0}', '{1,0}'::real[] <=> '{1,0}'] = '{5,0}'}), 't', 'so do the operators');
my ($status, $output, $error) = $plain->psql('postgres', 'CREATE TABLE t (body text); CREATE INDEX ON t USING semantic (body)');
isnt($status, 0, 'CREATE INDEX does not');
like($error, qr/ERROR:.*pg_semantic/, 'it says what is missing');
like($error, qr/HINT:.*shared_preload_libraries/, 'and what to do');
no_crash_in_log($plain, 'without the preload');
$plain->stop;
done_testing();
