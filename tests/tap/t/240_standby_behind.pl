# A standby whose store has lost an index, or is behind, answers without it: a standby repairs nothing.  Promoted, it
# repairs the index and uses it again.
use strict;
use warnings;
use File::Path qw(rmtree);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;
use PgSemantic::TestServer;

my $primary = new_server('primary', primary => 1, conf => q{
wal_keep_size = 512MB
autovacuum = off
});
$primary->safe_psql('postgres', q{
    CREATE TABLE points (id int PRIMARY KEY, embedding real[]);
    INSERT INTO points SELECT i, array[i, i % 7, 1]::real[] FROM generate_series(1, 2000) AS i;
    CREATE INDEX points_embedding ON points USING semantic (embedding real_l2_ops);
    CREATE TABLE documents (id int PRIMARY KEY, kind int, body text);
    INSERT INTO documents SELECT i, i % 20, 'document ' || i || ' about ' ||
        (array['trains', 'bread', 'passwords', 'music', 'rivers'])[1 + i % 5] FROM generate_series(1, 2000) AS i;
    CREATE INDEX documents_kind ON documents (kind);
    CREATE INDEX documents_body ON documents USING semantic (body) WITH (codec = f32);
    ANALYZE});
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
my $root = $standby->data_dir . '/pg_semantic';
my $store = "$root/pgsql_tmp.index";

sub caught_up { return $primary->wait_for_catchup($standby) }
sub standby_sql { return $standby->safe_psql('postgres', $_[0]) }
sub states { return standby_sql("SELECT string_agg(DISTINCT state, ', ') FROM semantic_indexes") }

# What a plan must do without: each through another part of the extension.
my %queries = (
    'ORDER BY' => "SELECT id FROM points ORDER BY embedding <-> '{700.1,2.2,1}' LIMIT 20",
    'ORDER BY over texts' => "SELECT id FROM documents ORDER BY body <=> 'document 77 about rivers', id LIMIT 5",
    'ORDER BY of an index scan over texts' => "SELECT id FROM documents ORDER BY body <=> 'document 77 about rivers' LIMIT 5",
    'a filter' => "SELECT id FROM documents WHERE kind = 7 ORDER BY body <=> 'a song' LIMIT 5",
    'semantic_search' => "SELECT content FROM semantic_search('documents_body', 'document 900 about bread', 5)",
);
my $settings = 'SET semantic.recall = 1; SET enable_seqscan = off; SET enable_sort = on;';
my $uses_index = qr/points_embedding|documents_body|Semantic Filter Scan/;
sub plan_on { my ($node, $query) = @_; return $node->safe_psql('postgres', "$settings EXPLAIN (COSTS OFF) $query") }

like(plan_on($standby, $queries{$_}), $uses_index, "a sound store: $_ goes through the index") for ('ORDER BY', 'ORDER BY of an index scan over texts', 'a filter');
like(plan_on($standby, $queries{'a filter'}), qr/Semantic Filter Scan/, 'a filter is a Semantic Filter Scan');

# Every query has the primary's rows, without the index.
sub does_without {
    my ($what) = @_;
    for my $name (sort keys %queries) {
        my $query = $queries{$name};
        my ($output, $error) = ('', '');
        $standby->psql('postgres', "$settings $query", stdout => \$output, stderr => \$error);
        is($output, $primary->safe_psql('postgres', "$settings $query"), "$what: $name has the primary's rows") or diag($error);
        unlike(plan_on($standby, $query), $uses_index, "$what: $name is planned without the index");
    }
    for my $call ("semantic_index_recall('points_embedding')", "semantic_index_repair('points_embedding')") {
        my $error = '';
        $standby->psql('postgres', "SELECT $call", stderr => \$error);
        like($error, qr/is behind its table|during recovery/, "$what: $call is an error");
    }
    return;
}
sub remove_store {
    rmtree([ glob "$root/pgsql_tmp.*" ]);
    rmtree([ glob "$root/copy.*" ]);
    return;
}

# ---- the store is missing --------------------------------------------------------------------
$standby->stop;
remove_store();
$standby->start;
does_without('a missing store');
is(states(), 'lost', 'a missing store: the indexes are shown as lost');
my ($output, $error) = ('', '');
$standby->psql('postgres', "SET client_min_messages = debug1; EXPLAIN $queries{'ORDER BY'}", stderr => \$error);
like($error, qr/semantic index "points_embedding" is not used/, 'a debugging message says why');

# ---- the store is behind -----------------------------------------------------------------------
# Made anew, then put back to an older state than the log can bring up to date.
sub rebuild_on_primary {
    $primary->safe_psql('postgres', 'REINDEX INDEX points_embedding; REINDEX INDEX documents_body');
    caught_up();
    is(plan_on($standby, $queries{'ORDER BY'}) =~ $uses_index ? 1 : 0, 1, 'an index that is built anew is used');
    is(standby_sql("$settings $queries{'a filter'}"), $primary->safe_psql('postgres', "$settings $queries{'a filter'}"), 'and answers');
    return;
}
sub restart_point {
    $primary->safe_psql('postgres', 'CHECKPOINT');
    caught_up();
    standby_sql('CHECKPOINT');
    return;
}
rebuild_on_primary();
restart_point();
my @copies = sort glob "$root/copy.*";
cmp_ok(scalar @copies, '>', 0, 'there is a copy of the store');
my $old = PostgreSQL::Test::Utils::tempdir . '/old';
PostgreSQL::Test::RecursiveCopy::copypath($copies[-1], $old);
$primary->safe_psql('postgres', "INSERT INTO points SELECT 2000 + i, array[700, 2, 1 + i]::real[] FROM generate_series(1, 20) AS i; DELETE FROM documents WHERE id = 77");
restart_point();
restart_point();
$standby->stop;
remove_store();
PostgreSQL::Test::RecursiveCopy::copypath($old, $store);
$standby->start;
does_without('a store behind the log');
is(states(), 'behind', 'a store behind the log: the indexes are shown as behind');

# ---- what cannot be read -------------------------------------------------------------------------
rebuild_on_primary();
restart_point();
$standby->stop;
for my $path (glob "$store/*.sst") {
    my $size = -s $path;
    open my $file, '+<:raw', $path or die $!;
    for my $at (0.1, 0.3, 0.5, 0.7) {
        seek $file, int($size * $at), 0;
        print $file 'x' x 64;
    }
    close $file;
}
$standby->start;
# The first to meet the damage says so.
$standby->psql('postgres', "$settings $queries{$_}") for ('ORDER BY', 'a filter');
does_without('damaged files');

# ---- a plan that was made before -------------------------------------------------------------------
rebuild_on_primary();
my $session = open_session($standby);
session_runs($session, "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; PREPARE nearest AS $queries{'ORDER BY'}; EXECUTE nearest;");
my $worker = wait_for_worker($standby);
# The next worker comes at once: what it may find is gone before.
rmtree([ glob "$root/copy.*" ]);
rename $store, PostgreSQL::Test::Utils::tempdir . '/gone' or die $!;
kill 'TERM', $worker;
wait_until_gone($worker);
$session->{error} = '';
session_runs($session, 'EXECUTE nearest;');
like($session->{error}, qr/is behind its table.*DISCARD PLANS/s, 'a cached plan raises an error with a hint');
is(session_runs($session, 'DISCARD PLANS; EXECUTE nearest;'), $primary->safe_psql('postgres', "$settings $queries{'ORDER BY'}"), 'which is true');
end_session($session);

# ---- a database copied on the primary ----------------------------------------------------------------
rebuild_on_primary();
$primary->safe_psql('postgres', 'CREATE DATABASE copied TEMPLATE postgres');
caught_up();
is($standby->safe_psql('copied', "$settings $queries{$_}"), $primary->safe_psql('postgres', "$settings $queries{$_}"),
    "a database whose copied indexes have no rows of their own yet: $_") for sort keys %queries;
$standby->psql('copied', "SELECT semantic_index_recall('points_embedding')", stderr => \$error);
like($error, qr/has no rows of its own yet/, 'what needs the index says so');
$primary->safe_psql('copied', "$settings $queries{'ORDER BY'}");
caught_up();
like($standby->safe_psql('copied', "$settings EXPLAIN $queries{'ORDER BY'}"), $uses_index, 'when the primary has made them, they are used');
restart_point();

# ---- promotion -----------------------------------------------------------------------------------------
$standby->stop;
remove_store();
$standby->start;
does_without('lost again');
my %expected = map { $_ => $primary->safe_psql('postgres', "$settings $queries{$_}") } keys %queries;
$primary->stop;
$standby->promote;
for my $name (sort keys %queries) {
    is(standby_sql("$settings $queries{$name}"), $expected{$name}, "promoted: $name has the primary's rows");
}
like(plan_on($standby, $queries{$_}), $uses_index, "promoted: $_ goes through the index") for ('ORDER BY', 'a filter');
is(states(), 'ready', 'promoted: the indexes are repaired');
sound_index($standby, $_, 'promoted') for qw(points_embedding documents_body);
no_crash_in_log($_, $_->name) for $primary, $standby;
$standby->stop;
done_testing();
