# Twenty crashes (or PG_SEMANTIC_CRASHES) in the middle of writes: kill -9 of the index worker, of a
# backend, or of the postmaster and all, or an immediate stop, at a random moment.  Afterwards every
# acknowledged change is in the table, and the indexes hold what the table holds.
#
# Each client is a process that drives one psql, writes to rows of its own, and
# keeps a model of what they must be.  A transaction counts as acknowledged when
# psql has printed what follows its COMMIT.  One whose acknowledgement was lost
# may have happened or not, but whole.
use strict;
use warnings;
use IPC::Open2;
use List::Util qw(shuffle);
use POSIX ();
use PostgreSQL::Test::Utils;
use Storable qw(store retrieve);
use Test::More;
use Time::HiRes qw(sleep time);
use PgSemantic::TestServer;

my $rounds = $ENV{PG_SEMANTIC_CRASHES} // 20;
my $seed = $ENV{PG_SEMANTIC_SEED} // int(rand 2**31);
srand $seed;
diag("seed: PG_SEMANTIC_SEED=$seed");

my $writers = 2;
my $node = new_server('crash', conf => q{
restart_after_crash = on
fsync = on
autovacuum_naptime = 1s
checkpoint_timeout = 30s
semantic.threads = 1
});
$node->safe_psql('postgres', q{
    CREATE TABLE documents (id int PRIMARY KEY, body text) WITH (autovacuum_vacuum_threshold = 20);
    CREATE TABLE points (id int PRIMARY KEY, embedding real[]) WITH (autovacuum_vacuum_threshold = 20);
    CREATE INDEX documents_body ON documents USING semantic (body);
    CREATE INDEX points_embedding ON points USING semantic (embedding real_l2_ops)});

my $directory = PostgreSQL::Test::Utils::tempdir;
my $stop_file = "$directory/stop";
my @psql = ($node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'));

my $main_process = $$;

# A client whose test is gone has nobody to write for.
sub is_orphan { return getppid() != $main_process; }

# ---- one client -----------------------------------------------------------------

sub start_psql {
    my ($reader, $writer);
    local *STDERR;
    open STDERR, '>>', "$directory/psql.log";
    my $pid = open2($reader, $writer, @psql);
    $writer->autoflush(1);
    return { pid => $pid, reader => $reader, writer => $writer };
}

# Sends SQL; true and the output when psql got to its end, else false.
sub send_sql {
    my ($session, $sql) = @_;
    my @lines;
    print { $session->{writer} } "$sql\n\\echo finished\n" or return (0, '');
    my $reader = $session->{reader};
    while (my $line = <$reader>) {
        chomp $line;
        return (1, join "\n", @lines) if $line eq 'finished';
        push @lines, $line;
    }
    return (0, '');
}

sub end_psql {
    my ($session) = @_;
    close $session->{writer};
    close $session->{reader};
    waitpid $session->{pid}, 0;
    return;
}

sub sentence { return random_sentence(3 + rand 8) }
sub point { return '{' . join(',', map { 1 + int rand 1000 } 1 .. 8) . '}'; }

# The SQL of one transaction and the rows as they are when it has happened.
# Rows: "table:id" => content, where absent rows are absent keys.
sub random_transaction {
    my ($client, $rows, $next_id) = @_;
    my %after = %$rows;
    my @sql = ('BEGIN;');
    my $write = sub {
        my ($rows_now) = @_;
        my ($table, $column, $content) = rand() < 0.5 ? ('documents', 'body', \&sentence) : ('points', 'embedding', \&point);
        my $kind = rand;
        my @mine = grep { /^$table:/ } keys %$rows_now;
        if ($kind < 0.55 || @mine < 5) {
            my @values;
            for (1 .. 1 + rand 12) {
                my $id = $client + $writers * $$next_id++;
                my $new = rand() < 0.05 ? undef : $content->();
                $rows_now->{"$table:$id"} = $new;
                push @values, defined $new ? "($id, '$new')" : "($id, NULL)";
            }
            push @sql, "INSERT INTO $table VALUES " . join(', ', @values) . ';';
        } else {
            my $some = 1 + int rand 4;
            for my $key ((shuffle sort @mine)[ 0 .. $some - 1 ]) {
                my ($id) = $key =~ /:(\d+)/;
                if ($kind < 0.8) {
                    my $new = $content->();
                    push @sql, "UPDATE $table SET $column = '$new' WHERE id = $id;";
                    $rows_now->{$key} = $new;
                } else {
                    push @sql, "DELETE FROM $table WHERE id = $id;";
                    delete $rows_now->{$key};
                }
            }
        }
    };
    $write->(\%after) for 1 .. 1 + rand 2;
    if (rand() < 0.3) {
        my %dropped = %after;
        push @sql, 'SAVEPOINT s;';
        $write->(\%dropped);
        if (rand() < 0.5) {
            push @sql, 'ROLLBACK TO s;';
        } else {
            push @sql, 'RELEASE s;';
            %after = %dropped;
        }
        $write->(\%after) if rand() < 0.5;
    }
    # A search in the middle makes the index see rows that are not committed yet.
    push @sql, "SET LOCAL enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM documents ORDER BY body <=> 'music' LIMIT 3) AS s;"
      if rand() < 0.2;
    if (rand() < 0.15) {
        push @sql, 'ROLLBACK;';
        %after = %$rows;
    } else {
        push @sql, 'COMMIT;';
    }
    return (join("\n", @sql), \%after);
}

sub same_rows {
    my ($left, $right) = @_;
    return 0 unless keys %$left == keys %$right;
    for my $key (keys %$left) {
        return 0 unless exists $right->{$key} && ($left->{$key} // '(null)') eq ($right->{$key} // '(null)');
    }
    return 1;
}

# The rows of a client as the tables have them; undef while the server is away.
sub stored_rows {
    my ($session, $client) = @_;
    my %rows;
    for my $table ([ 'documents', 'body' ], [ 'points', 'embedding::text' ]) {
        my ($done, $output) = send_sql($session,
            "SELECT id || ' ' || coalesce($table->[1], '(null)') FROM $table->[0] WHERE id % $writers = $client;");
        return undef unless $done;
        for my $line (split /\n/, $output) {
            my ($id, $content) = split / /, $line, 2;
            $rows{"$table->[0]:$id"} = $content eq '(null)' ? undef : $content;
        }
    }
    return \%rows;
}

# Writes until the stop file is there.  Result, in a file: acknowledged and
# uncertain transactions, and every disagreement with the tables.
sub run_writer {
    my ($client, $round, $state_file) = @_;
    srand($seed + 1000 * $round + $client);
    my $state = -e $state_file ? retrieve($state_file) : { rows => {}, next_id => 1, committed => 0, uncertain => 0 };
    $state->{wrong} = [];
    my $in_flight;    # rows as they would be if the unacknowledged transaction had happened
    my $session;
    while (!-e $stop_file || !defined $session) {
        POSIX::_exit(1) if is_orphan();
        if (!defined $session) {
            $session = start_psql();
            my $stored = stored_rows($session, $client);
            if (!defined $stored) {
                end_psql($session);
                undef $session;
                sleep 0.1;
                next;
            }
            if (same_rows($stored, $state->{rows})) {
                # Nothing lost, nothing done without a word.
            } elsif (defined $in_flight && same_rows($stored, $in_flight)) {
                $state->{uncertain}++;
            } else {
                push @{ $state->{wrong} }, 'the tables hold neither what was acknowledged nor what was under way';
            }
            $state->{rows} = $stored;
            undef $in_flight;
        }
        my ($sql, $after) = random_transaction($client, $state->{rows}, \$state->{next_id});
        my ($done) = send_sql($session, $sql);
        if ($done) {
            $state->{rows} = $after;
            $state->{committed}++;
        } else {
            $in_flight = $after;
            end_psql($session);
            undef $session;
        }
    }
    end_psql($session);
    store($state, $state_file);
    return;
}

sub run_vacuumer {
    my ($round) = @_;
    srand($seed + 1000 * $round + 999);
    until (-e $stop_file || is_orphan()) {
        my $session = start_psql();
        while (!-e $stop_file) {
            POSIX::_exit(1) if is_orphan();
            my $statement = (qw(documents points))[ rand 2 ];
            my ($done) = send_sql($session, rand() < 0.15 ? 'CHECKPOINT;' : "VACUUM $statement;");
            last unless $done;
            sleep 0.1;
        }
        end_psql($session);
        sleep 0.1;
    }
    return;
}

sub fork_client {
    my ($body) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    $SIG{PIPE} = 'IGNORE';
    eval { $body->(); 1 } or do { print STDERR $@; POSIX::_exit(1) };
    POSIX::_exit(0);    # no END blocks: they would stop the server
}

$SIG{PIPE} = 'IGNORE';

# ---- the rounds -----------------------------------------------------------------

sub wait_for_server {
    my $end = time + $PostgreSQL::Test::Utils::timeout_default;
    while (time < $end) {
        # Not through IPC::Run, which dies when psql does not read what it is sent.
        my $session = start_psql();
        my ($done) = send_sql($session, 'SELECT 1;');
        end_psql($session);
        return 1 if $done;
        sleep 0.1;
    }
    return 0;
}

my @victims = qw(worker backend postmaster server);
my (%killed, $committed, $uncertain);
for my $round (1 .. $rounds) {
    my $victim = $victims[ $round % @victims ];
    my @clients;
    for my $client (0 .. $writers - 1) {
        push @clients, fork_client(sub { run_writer($client, $round, "$directory/writer$client") });
    }
    push @clients, fork_client(sub { run_vacuumer($round) });

    sleep 0.3 + rand 1.2;
    if ($victim eq 'postmaster') {
        my @children = keys %{ children_of($node) };
        $node->kill9;
        kill 'KILL', @children if rand() < 0.5;
        ok(wait_until_gone(@children), "round $round: every process goes when the postmaster is killed");
        $node->start;
        $killed{$victim}++;
    } elsif ($victim eq 'server') {
        $node->stop('immediate');
        $node->start;
        $killed{$victim}++;
    } else {
        my @pids = $victim eq 'worker' ? (worker_pid($node) // ()) : backend_pids($node);
        my $pid = $pids[ rand @pids ];
        $killed{$victim} += kill 'KILL', $pid if defined $pid;
        wait_until_gone($pid) if defined $pid;
    }
    ok(wait_for_server(), "round $round: the server is back after the $victim was killed");
    sleep rand 0.5;    # and writes go on

    append_to_file($stop_file, '');
    for my $pid (@clients) {
        waitpid $pid, 0;
        is($?, 0, "round $round: a client ended well");
    }
    unlink $stop_file;

    ($committed, $uncertain) = (0, 0);
    my %expected;
    for my $client (0 .. $writers - 1) {
        my $state = retrieve("$directory/writer$client");
        is(join('; ', @{ $state->{wrong} }), '', "round $round: client $client finds what it was told is committed");
        $committed += $state->{committed};
        $uncertain += $state->{uncertain};
        for my $key (keys %{ $state->{rows} }) {
            my ($table, $id) = split /:/, $key;
            push @{ $expected{$table} }, $id;
        }
    }
    for my $case ([ 'documents', "body <=> 'music'" ], [ 'points', "embedding <-> '{1,2,3,4,5,6,7,8}'" ]) {
        my ($table, $distance) = @$case;
        my @ids = sort { $a <=> $b } @{ $expected{$table} // [] };
        is(rows_through_index($node, $table, $distance), join("\n", @ids),
            "round $round: the index finds the " . scalar(@ids) . " rows of $table");
    }
    sound_index($node, $_, "round $round") for qw(documents_body points_embedding);
}
# Killed processes lose nothing that the operating system has: replay must have been enough.
unlike(slurp_file($node->logfile), qr/repairing semantic index|behind the log/, 'no index had to be repaired');

diag(join ', ', map { "$_ killed $killed{$_} times" } sort keys %killed);
diag("$committed transactions acknowledged, $uncertain happened without an acknowledgement");
my $kills = 0;
$kills += $_ for values %killed;
cmp_ok($kills, '>=', $rounds, "there were $rounds crashes");
cmp_ok($committed, '>', 10 * $rounds, 'the clients were busy');

# A row's own content finds it.
is($node->safe_psql('postgres', q{
    SET enable_seqscan = off;
    SELECT count(*) FROM (SELECT embedding FROM points WHERE embedding IS NOT NULL LIMIT 50) AS sample
    WHERE (SELECT p.embedding <-> sample.embedding FROM points AS p ORDER BY p.embedding <-> sample.embedding LIMIT 1) > 0}),
    '0', 'every sampled vector is its own nearest neighbour');
no_crash_in_log($node, 'crash');
$node->stop;
done_testing();
