# What the operating system sees: one thread and no compute library in the
# postmaster, one worker, one copy of the weights; and what works without the preload.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use PgSemantic::TestServer;

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
