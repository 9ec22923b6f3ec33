# A cluster with models, indexes, queries in views and an unlogged table goes to a
# new one: by pg_upgrade, copying and linking, and by a dump.  Models are there, and
# indexes answer as before: the worker's store, which is not taken over, is filled from the tables.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use PgSemantic::TestServer;

my $old = new_server('old');
my $shipped = $old->safe_psql('postgres', q{SELECT setting || '/extension/pg_semantic/default' FROM pg_config WHERE name = 'SHAREDIR'});
$old->safe_psql('postgres', qq{
    CREATE DATABASE other;
    SELECT semantic_load_model('half', '$shipped', 'fp16');
    CREATE TABLE docs (id int PRIMARY KEY, body text);
    INSERT INTO docs VALUES (1, 'How to reset the password of your account'), (2, 'Bread wants forty minutes in a hot oven'),
        (3, 'Trains to the airport leave every ten minutes'), (4, NULL);
    CREATE INDEX docs_body ON docs USING semantic (body);
    CREATE INDEX docs_half ON docs USING semantic (body) WITH (model = half);
    CREATE VIEW nearest AS SELECT id, body FROM docs ORDER BY body <=> 'I cannot log in any more' LIMIT 1;
    CREATE TABLE points (id int, v real[]) PARTITION BY RANGE (id);
    CREATE TABLE points_low PARTITION OF points FOR VALUES FROM (0) TO (500);
    CREATE TABLE points_high PARTITION OF points FOR VALUES FROM (500) TO (1001);
    INSERT INTO points SELECT i, array[i, 1, 2]::real[] FROM generate_series(1, 1000) AS i;
    CREATE INDEX points_v ON points USING semantic (v real_l2_ops);
    DELETE FROM points WHERE id % 10 = 3;
    CREATE UNLOGGED TABLE jottings (id int, body text);
    CREATE INDEX jottings_body ON jottings USING semantic (body);
    INSERT INTO jottings SELECT id, body FROM docs;
    CREATE UNLOGGED TABLE scraps (id int, body text);
    CREATE INDEX scraps_body ON scraps USING semantic (body);
    CREATE TABLE kept_queries (id int, query semantic_query);
    INSERT INTO kept_queries VALUES (1, 'a hot oven')});
$old->safe_psql('other', 'CREATE EXTENSION pg_semantic; CREATE TABLE t (id int, body text);
    CREATE INDEX t_body ON t USING semantic (body); INSERT INTO t VALUES (1, \'one\'), (2, \'two\')');

my $forced = 'SET enable_seqscan = off; SET enable_sort = off;';
my @questions = (
    [ 'postgres', "$forced SELECT id FROM docs ORDER BY body <=> 'the oven is hot' LIMIT 2" ],
    [ 'postgres', "$forced SET semantic.model = half; SELECT id FROM docs ORDER BY body <=> 'going by train' LIMIT 2" ],
    [ 'postgres', 'SELECT id FROM nearest' ],
    [ 'postgres', "SELECT pg_get_viewdef('nearest'::regclass) ~ 'I cannot log in any more' AS spelt" ],
    [ 'postgres', "$forced SELECT id FROM points ORDER BY v <-> array[602, 1, 2]::real[] LIMIT 4" ],
    [ 'postgres', "$forced SELECT count(*) FROM (SELECT id FROM points ORDER BY v <-> array[602, 1, 2]::real[]) q" ],
    [ 'postgres', "SELECT content FROM semantic_search('docs_body', 'a hot oven', 1)" ],
    [ 'postgres', 'SELECT d.id FROM docs d, kept_queries k ORDER BY d.body <=> k.query LIMIT 1' ],
    [ 'postgres', "$forced SELECT id FROM jottings ORDER BY body <=> 'a hot oven' LIMIT 1" ],
    [ 'postgres', 'SELECT name, model_precision, bytes, fingerprint FROM semantic_models ORDER BY name' ],
    [ 'postgres', "SELECT semantic_embed('the same numbers', 'half')" ],
    [ 'other', "$forced SELECT id FROM t ORDER BY body <=> 'two'" ]);
my @before = map { $old->safe_psql($_->[0], $_->[1]) } @questions;

# An object of the extension that lost its membership would be an ordinary object in the next dump.
my $members = q{SELECT string_agg(pg_describe_object(classid, objid, 0), E'\n' ORDER BY pg_describe_object(classid, objid, 0))
    FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
    AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_semantic')};
my $members_before = $old->safe_psql('postgres', $members);

sub new_cluster {
    my ($name) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    $node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
    $node->append_conf('postgresql.conf', "log_statement = none\nmax_prepared_transactions = 8");
    return $node;
}

sub preload {
    my ($node) = @_;
    $node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_semantic'");
}

sub answers_as_before {
    my ($node, $how) = @_;
    foreach my $database ('postgres', 'other') {
        # The store is not copied: what is not ready is lost, and repaired here or, below, when it is read.
        my $lost = $node->safe_psql($database, "SELECT index FROM semantic_indexes WHERE state = 'lost' AND index::text <> 'docs_body'");
        $node->safe_psql($database, "SELECT semantic_index_repair('$_')") foreach split /\n/, $lost;
    }
    # A crash takes an unlogged index back to what it was made as, which for pg_upgrade was before there was a model.
    $node->safe_psql('postgres', 'REINDEX INDEX jottings_body');
    foreach my $i (0 .. $#questions) {
        my ($database, $question) = @{ $questions[$i] };
        is($node->safe_psql($database, $question), $before[$i], "$how: $question");
    }
    is($node->safe_psql($_, "SELECT index, state FROM semantic_indexes WHERE state <> 'ready' AND index::text <> 'scraps_body'"), '', "$how, $_: indexes are ready")
      foreach 'postgres', 'other';
    sound_index($node, $_, $how) foreach qw(docs_body docs_half points_low_v_idx points_high_v_idx jottings_body);
    is($node->safe_psql('postgres', $members), $members_before, "$how: the extension has the same members");
    is($node->safe_psql('postgres', q{INSERT INTO docs VALUES (5, 'I cannot log in any more'); SELECT id FROM nearest}), '5', "$how: new rows are found");
    my ($status, $output, $error) = $node->psql('postgres', "SELECT semantic_drop_model('half')");
    like($error, qr/an index uses it/, "$how: an index keeps its model");
    # A crash empties the unlogged table, and its index with it.
    $node->stop('immediate');
    $node->start;
    is($node->safe_psql('postgres', "INSERT INTO jottings VALUES (7, 'bread'); $forced SELECT id FROM jottings ORDER BY body <=> 'bread'"),
        '7', "$how: the unlogged index works after a crash");
    # One without REINDEX was made empty by pg_upgrade, before there was a model.
    if ($how =~ /pg_upgrade/) {
        ($status, $output, $error) = $node->psql('postgres', "INSERT INTO scraps VALUES (1, 'x')");
        like($error, qr/index "scraps_body" has no model.*HINT:  REINDEX INDEX scraps_body/s, "$how: an unlogged index that had no REINDEX says so");
        is($node->safe_psql('postgres', "REINDEX INDEX scraps_body; INSERT INTO scraps VALUES (1, 'x'); $forced SELECT id FROM scraps ORDER BY body <=> 'x'"),
            '1', "$how: which helps");
    }
    no_crash_in_log($node, $how);
}

$old->stop;
foreach my $mode ('--copy', '--link') {
    my $name = 'new' . $mode =~ s/-/_/gr;
    my $new = new_cluster($name);
    # Before or after pg_upgrade.
    preload($new) if $mode eq '--copy';
    # PostgreSQL 15 copies unless it is told to link.
    my @mode = $mode eq '--link' ? ($mode) : ();
    command_ok([ 'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $old->config_data('--bindir'),
            '-B', $new->config_data('--bindir'), '-s', $new->host, '-p', $old->port, '-P', $new->port, @mode ],
        "pg_upgrade $mode");
    unless (Test::More->builder->is_passing) {
        foreach my $log (glob $new->data_dir . '/pg_upgrade_output.d/*/log/*.log') { diag($_) foreach grep { /error|hint/i } split /\n/, slurp_file($log) }
    }
    preload($new) if $mode eq '--link';
    $new->start;
    wait_for_worker($new);
    answers_as_before($new, "pg_upgrade $mode");
    if ($mode eq '--copy') {
        # What the old one holds is untouched: the dump is made from it.
        $old->start;
        my $restored = new_cluster('restored');
        preload($restored);
        $restored->start;
        my $dump = $restored->data_dir . '/all.sql';
        command_ok([ 'pg_dumpall', '-h', $old->host, '-p', $old->port, '-f', $dump, '--no-role-passwords' ], 'pg_dumpall');
        my ($status, $output, $error) = $restored->psql('postgres', '', on_error_stop => 0, extra_params => [ '-f', $dump ]);
        my @errors = grep { /ERROR/ && !/role ".*" already exists/ } split /\n/, $error;
        is("@errors", '', 'the dump is restored');
        answers_as_before($restored, 'pg_dumpall');
        $restored->stop;
        $old->stop;
    }
    $new->stop;
}
done_testing();
