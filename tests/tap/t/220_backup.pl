# Base backups, point-in-time recovery to any point, and pg_rewind give servers whose indexes need no rebuild.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;
use PgSemantic::TestServer;

my $settings = q{
shared_preload_libraries = 'pg_semantic'
log_statement = none
max_connections = 30
wal_log_hints = on
wal_keep_size = 512MB
autovacuum = off
};
my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(has_archiving => 1, allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C.UTF-8', '--data-checksums' ]);
$primary->append_conf('postgresql.conf', $settings);
$primary->start;
$primary->safe_psql('postgres', q{
    CREATE EXTENSION pg_semantic;
    CREATE TABLE points (id int PRIMARY KEY, embedding real[]);
    CREATE INDEX points_embedding ON points USING semantic (embedding real_l2_ops);
    CREATE TABLE documents (id int PRIMARY KEY, body text);
    CREATE INDEX documents_body ON documents USING semantic (body);
    INSERT INTO documents SELECT i, 'document number ' || i FROM generate_series(1, 200) AS i;
    INSERT INTO points SELECT i, array[i, i % 7, 1]::real[] FROM generate_series(1, 2000) AS i});

sub ids { my ($node) = @_; return $node->safe_psql('postgres', 'SELECT id FROM points ORDER BY id') }
sub holds_its_rows {
    my ($node, $what) = @_;
    # Lists of an index that was built after the backup are being made.
    ok($node->poll_query_until('postgres', "SELECT bool_and(state = 'ready') FROM semantic_indexes"), "$what: the indexes are ready");
    is(rows_through_index($node, 'points', "embedding <-> '{1,2,3}'"), ids($node), "$what: an index has the rows of its table");
    sound_index($node, $_, $what) for qw(points_embedding documents_body);
    return unlike(slurp_file($node->logfile), qr/behind|repair|cannot be used/, "$what: nothing was repaired");
}

# ---- a backup while rows come and go, lists are rewritten and checkpoints happen ---------------
my $load = open_session($primary);
session_begins($load, join "\n", map {
    "INSERT INTO points SELECT 10000 + $_ * 500 + i, array[i, i % 7, $_]::real[] FROM generate_series(1, 500) AS i;\n"
      . "DELETE FROM points WHERE id > 10000 AND id % 3 = $_ % 3;\nVACUUM points;\n" . ($_ % 5 ? '' : 'CHECKPOINT;')
} 1 .. 40);
$primary->backup('busy');
ok(!-e $primary->backup_dir . '/busy/pg_semantic/pgsql_tmp.index', 'the files that the worker writes to are not in a base backup');
is(scalar(my @copies = glob $primary->backup_dir . '/busy/pg_semantic/copy.*') > 0, 1, 'consistent copies are');
session_runs($load, "SELECT 'end';");
end_session($load);

# ---- point-in-time recovery --------------------------------------------------------------------
$primary->safe_psql('postgres', "INSERT INTO points SELECT 90000 + i, array[i, 2, 3]::real[] FROM generate_series(1, 50) AS i");
my @targets;
for my $step (1 .. 3) {
    $primary->safe_psql('postgres', "INSERT INTO points SELECT 100000 + $step * 100 + i, array[i, 2, $step]::real[] FROM generate_series(1, 50) AS i");
    $primary->safe_psql('postgres', "DELETE FROM points WHERE id = $step");
    $primary->safe_psql('postgres', 'REINDEX INDEX points_embedding') if $step == 2;
    push @targets, { lsn => $primary->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()'), ids => ids($primary) };
    $primary->safe_psql('postgres', 'VACUUM points; ') if $step == 1;
    $primary->safe_psql('postgres', 'DROP INDEX documents_body; CREATE INDEX documents_body ON documents USING semantic (body)') if $step == 2;
}
$primary->safe_psql('postgres', 'TRUNCATE points; SELECT pg_switch_wal()');
for my $i (0 .. 2) {
    my $restored = PostgreSQL::Test::Cluster->new("restored$i");
    $restored->init_from_backup($primary, 'busy', has_restoring => 1, standby => 0);
    $restored->append_conf('postgresql.conf', "recovery_target_lsn = '$targets[$i]{lsn}'\nrecovery_target_action = 'promote'\nrecovery_target_timeline = 'current'\narchive_mode = off\n");
    $restored->start;
    $restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
    is(ids($restored), $targets[$i]{ids}, "recovery to point $i has the rows of then");
    holds_its_rows($restored, "recovery to point $i");
    $restored->safe_psql('postgres', "INSERT INTO points VALUES (-1, '{1,1,1}')");
    $restored->stop('immediate');
    $restored->start;
    holds_its_rows($restored, "recovery to point $i, and a crash after it");
    no_crash_in_log($restored, "restored$i");
    $restored->stop;
}

# ---- a copy of the files of a stopped server, and one that has everything of a running one -----------
$primary->safe_psql('postgres', "INSERT INTO points SELECT i, array[i, 1, 1]::real[] FROM generate_series(1, 300) AS i");
$primary->stop;
my $cold = PostgreSQL::Test::Cluster->new('cold');
$primary->backup_fs_cold('cold') if $primary->can('backup_fs_cold');
PostgreSQL::Test::RecursiveCopy::copypath($primary->data_dir, $primary->backup_dir . '/cold') unless -e $primary->backup_dir . '/cold';
$primary->start;
$cold->init_from_backup($primary, 'cold', standby => 0, has_restoring => 0);
$cold->start;
holds_its_rows($cold, 'a copy of a stopped server');
$cold->stop;

# pg_backup_start, a copy of every file, pg_backup_stop: the worker's own files are there, too, and fit nothing.
my $session = open_session($primary);
$load = open_session($primary);
session_runs($session, "SELECT pg_backup_start('by hand', true);");
session_begins($load, join "\n", map {
    "INSERT INTO points SELECT 50000 + $_ * 500 + i, array[i, i % 7, $_]::real[] FROM generate_series(1, 500) AS i;"
} 1 .. 20);
my $by_hand = $primary->backup_dir . '/by_hand';
PostgreSQL::Test::RecursiveCopy::copypath($primary->data_dir, $by_hand,
    filterfn => sub { my ($name) = @_; return $name !~ m{^(postmaster\.pid|log|pg_wal/.+)$} });
session_runs($load, "SELECT 'end';");
end_session($load);
my $label = session_runs($session, 'SELECT labelfile FROM pg_backup_stop();');
end_session($session);
append_to_file("$by_hand/backup_label", "$label\n");
$primary->safe_psql('postgres', 'SELECT pg_switch_wal()');
my $restored = PostgreSQL::Test::Cluster->new('by_hand');
$restored->init_from_backup($primary, 'by_hand', has_restoring => 1, standby => 0);
$restored->append_conf('postgresql.conf', 'archive_mode = off');
$restored->start;
$restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
holds_its_rows($restored, 'a copy of every file of a running server');
$restored->stop;

# ---- pg_rewind ------------------------------------------------------------------------------------
$primary->backup('for_standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'for_standby', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);
$standby->promote;
$primary->safe_psql('postgres', "INSERT INTO points SELECT 200000 + i, array[i, 9, 9]::real[] FROM generate_series(1, 200) AS i");
$primary->safe_psql('postgres', 'DELETE FROM points WHERE id < 100');
$primary->safe_psql('postgres', 'VACUUM points');
$standby->safe_psql('postgres', "INSERT INTO points SELECT 300000 + i, array[i, 8, 8]::real[] FROM generate_series(1, 200) AS i");
$standby->safe_psql('postgres', "DELETE FROM points WHERE id > 250 AND id < 1000");
$standby->safe_psql('postgres', 'VACUUM points');
$standby->safe_psql('postgres', 'CHECKPOINT');
$primary->stop;
my $configuration = slurp_file($primary->data_dir . '/postgresql.conf');
command_ok([ 'pg_rewind', '--target-pgdata', $primary->data_dir, '--source-server', $standby->connstr('postgres'), '--no-sync' ],
    'pg_rewind of the old primary');
unlink $primary->data_dir . '/postgresql.conf';
append_to_file($primary->data_dir . '/postgresql.conf', $configuration);
$primary->enable_streaming($standby);
$primary->set_standby_mode;
my $log_end = -s $primary->logfile;
$primary->start;
$standby->wait_for_catchup($primary, 'replay', $standby->lsn('insert'));
is(ids($primary), ids($standby), 'the rewound server has the rows of the new primary');
is(rows_through_index($primary, 'points', "embedding <-> '{1,2,3}'"), ids($standby), 'and so has its index');
sound_index($primary, $_, 'the rewound server') for qw(points_embedding documents_body);
unlike(substr(slurp_file($primary->logfile), $log_end), qr/behind|repair|cannot be used/, 'without a repair');

no_crash_in_log($_, $_->name) for $primary, $standby;
$primary->stop;
$standby->stop;
done_testing();
