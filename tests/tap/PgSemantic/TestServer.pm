# What the TAP tests share: servers with the extension, and what the operating
# system says about their processes.
package PgSemantic::TestServer;

use strict;
use warnings;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(new_server model_path children_of worker_pid wake_postmaster backend_pids thread_count encoder_thread_count mapped_files
  mapping_sizes wait_until_gone wait_for_worker sound_index rows_through_index no_crash_in_log open_session session_begins session_runs end_session
  kill_server crash_server random_sentence);

# A running server with the extension in database postgres.
# preload => 0: without shared_preload_libraries; conf => lines for postgresql.conf; primary => 1: standbys may be made of
# it, and pages have checksums.
sub new_server {
    my ($name, %options) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    my $primary = $options{primary} // 0;
    $node->init(allows_streaming => $primary, extra => [ '--encoding=UTF8', '--locale=C.UTF-8', ('--data-checksums') x $primary ]);
    $node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_semantic'")
      unless exists $options{preload} && !$options{preload};
    # log_statement = all (PostgreSQL::Test::Cluster's choice) would log every vector.
    $node->append_conf('postgresql.conf', "log_statement = none\nmax_connections = 30\nmax_prepared_transactions = 8");
    $node->append_conf('postgresql.conf', $options{conf}) if defined $options{conf};
    $node->start;
    $node->safe_psql('postgres', 'CREATE EXTENSION pg_semantic');
    return $node;
}

# The directory of a conformance checkpoint, or undef where the test data is not there.
sub model_path {
    my ($name) = @_;
    my $path = ($ENV{PG_SEMANTIC_MODELS} // '') . "/$name";
    return -e "$path/config.json" ? $path : undef;
}

sub postmaster_pid {
    my ($node) = @_;
    open my $file, '<', $node->data_dir . '/postmaster.pid' or return undef;
    my $pid = <$file>;
    chomp $pid;
    return $pid;
}

# pid => title of the server's child processes.
sub children_of {
    my ($node) = @_;
    my $postmaster = postmaster_pid($node) // return {};
    my %children;
    for my $directory (glob '/proc/[0-9]*') {
        open my $stat, '<', "$directory/stat" or next;
        my $line = <$stat> // next;
        my ($parent) = $line =~ /^\d+ \(.*\) \S (\d+)/s or next;
        next unless $parent == $postmaster;
        open my $title, '<', "$directory/cmdline" or next;
        local $/;
        my $text = <$title> // '';
        $text =~ s/\0+/ /g;
        my ($pid) = $directory =~ /(\d+)$/;
        $children{$pid} = $text;
    }
    return \%children;
}

sub worker_pid {
    my ($node) = @_;
    my $children = children_of($node);
    my @workers = grep { $children->{$_} =~ /pg_semantic index worker/ } keys %$children;
    return @workers == 1 ? $workers[0] : undef;
}

# A postmaster that hears of a worker's end just before it goes to sleep looks after the next one when it is woken, as by
# whoever waits for one.
sub wake_postmaster {
    my ($node) = @_;
    my $postmaster = postmaster_pid($node) // return;
    kill 'USR1', $postmaster if (readlink("/proc/$postmaster/exe") // '') =~ /postgres/;
    return;
}

sub wait_for_worker {
    my ($node) = @_;
    my $end = time + $PostgreSQL::Test::Utils::timeout_default;
    while (time < $end) {
        my $pid = worker_pid($node);
        return $pid if defined $pid;
        wake_postmaster($node);
        sleep 0.05;
    }
    return undef;
}

# Processes that serve clients (on a Unix-domain socket, as all clients here do).
sub backend_pids {
    my ($node) = @_;
    my $children = children_of($node);
    return grep { $children->{$_} =~ /\[local\]/ } keys %$children;
}

sub thread_count {
    my ($pid) = @_;
    my @threads = glob "/proc/$pid/task/*";
    return scalar @threads;
}

# How many of them are the encoder's.
sub encoder_thread_count {
    my ($pid) = @_;
    return scalar grep { -e $_ && slurp_file($_) eq "pg_semantic\n" } glob "/proc/$pid/task/*/comm";
}

# The names of the files that a process has mapped.
sub mapped_files {
    my ($pid) = @_;
    open my $maps, '<', "/proc/$pid/maps" or return ();
    my %files;
    while (my $line = <$maps>) { $files{$1} = 1 if $line =~ m{\s(/\S.*)$}; }
    return sort keys %files;
}

# Rss, Pss, Private_Dirty … in kB, summed over a process's mappings of files
# whose name matches.
sub mapping_sizes {
    my ($pid, $pattern) = @_;
    open my $smaps, '<', "/proc/$pid/smaps" or return {};
    my (%sizes, $wanted);
    while (my $line = <$smaps>) {
        if ($line =~ /^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+\s*(.*)$/) { $wanted = $1 =~ $pattern; next; }
        $sizes{$1} += $2 if $wanted && $line =~ /^(\w+):\s+(\d+) kB/;
    }
    return \%sizes;
}

# Waits until none of the processes is there; true when they all went.
sub wait_until_gone {
    my (@pids) = @_;
    my $end = time + $PostgreSQL::Test::Utils::timeout_default;
    while (time < $end) {
        @pids = grep { -e "/proc/$_" } @pids;
        return 1 unless @pids;
        sleep 0.02;
    }
    diag("still there: @pids");
    return 0;
}

my @words = qw(password bread train river photograph mountain invoice guitar fever winter engine letter garden
  planet coffee window doctor bridge music harvest);

# So many random words.
sub random_sentence {
    my ($count) = @_;
    return join ' ', map { $words[ rand @words ] } 1 .. $count;
}

# kill -9 of the postmaster; its processes go, too.
sub kill_server {
    my ($node) = @_;
    my @children = keys %{ children_of($node) };
    $node->kill9;
    return wait_until_gone(@children);
}

# The same, and starts the server again.
sub crash_server {
    my ($node) = @_;
    kill_server($node);
    $node->start;
    wait_for_worker($node);
    return;
}

# One test: semantic_index_check finds no problem.
sub sound_index {
    my ($node, $index, $what) = @_;
    my $problems = $node->safe_psql('postgres',
        "SELECT problem || coalesce(' at ' || ctid, '') FROM semantic_index_check('$index') LIMIT 20");
    return is($problems, '', "$what: semantic_index_check('$index') finds nothing");
}

# Every row that a scan of the index alone returns: the first column of
# "SELECT id FROM table ORDER BY distance", sorted as text.
sub rows_through_index {
    my ($node, $table, $distance) = @_;
    my $settings = 'SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off;';
    my $query = "SELECT id FROM $table ORDER BY $distance";
    my $plan = $node->safe_psql('postgres', "$settings EXPLAIN (COSTS OFF) $query");
    unlike($plan, qr/Seq Scan|Sort/, "the scan of $table goes through the index") or diag($plan);
    return $node->safe_psql('postgres', "$settings WITH found AS MATERIALIZED ($query) SELECT id FROM found ORDER BY id");
}

# A psql that stays: what it prints is in $session->{output}, and its server may die under it.
sub open_session {
    my ($node) = @_;
    my %session = (input => '', output => '', error => '');
    $session{process} = IPC::Run::start(
        [ $node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres') ],
        '<', \$session{input}, '>', \$session{output}, '2>', \$session{error});
    return \%session;
}

# Runs SQL; the output when psql got through it, else undef.
sub session_runs {
    my ($session, $sql) = @_;
    $session->{output} = '';
    $session->{input} .= "$sql\n\\echo finished\n";
    my $done = eval {
        $session->{process}->pump until $session->{output} =~ /^finished$/m || !$session->{process}->pumpable;
        1;
    };
    return undef unless $done && $session->{output} =~ s/^finished\n?//m;
    chomp $session->{output};
    return $session->{output};
}

# Gives it SQL and does not wait.
sub session_begins {
    my ($session, $sql) = @_;
    $session->{input} .= "$sql\n";
    # pump would wait for what it may print.
    eval { $session->{process}->pump_nb while length $session->{input} };
    return;
}

sub end_session {
    my ($session) = @_;
    eval { $session->{process}->kill_kill };
    return;
}

# One test: no process of the server died of itself.  Killed ones (signal 9) are the tests' doing.
sub no_crash_in_log {
    my ($node, $what) = @_;
    my @bad = grep { /PANIC|TRAP:|was terminated by signal (?!9\b)/ } split /\n/, slurp_file($node->logfile);
    is(scalar @bad, 0, "$what: no process crashed") or diag(join "\n", @bad);
    return;
}

1;
