# VACUUM that is under way, beside everything else; tests/isolation has the other pairs.
# A scan that stands on the table's last page keeps it there: it has seen which rows are
# dead, and has not yet removed them from the index.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use PgSemantic::TestServer;

my $node = new_server('running_vacuum', conf => "autovacuum = off\nlog_error_verbosity = terse");
my %session = map { $_ => $node->background_psql('postgres', on_error_stop => 0) } qw(reader vacuum other);
$session{$_}->query_safe('SET enable_seqscan = off; SET enable_sort = off') for qw(reader other);

# Every tenth row that is there, nearest first.
my $nearest = q{SELECT id FROM t WHERE id % 10 = 0 ORDER BY embedding <=> ARRAY[1, 0]::real[]};
sub nearest { return join ' ', split /\n/, $session{other}->query($nearest) }

sub start {
    my ($name, $statement) = @_;
    $session{$name}->query_until(qr/sent/, "\\echo sent\n$statement;\n");
    return;
}

# Ten rows fill a page.  Rows 11 to 20, a page of their own, are dead when VACUUM begins.
sub begin_vacuum {
    $node->safe_psql('postgres', q{
        DROP TABLE IF EXISTS t;
        CREATE TABLE t (id integer, embedding real[], filler char(700) DEFAULT '');
        INSERT INTO t SELECT i, ARRAY[cos(i * 0.02), sin(i * 0.02)]::real[] FROM generate_series(1, 40) i;
        CREATE INDEX t_semantic ON t USING semantic (embedding);
        DELETE FROM t WHERE id BETWEEN 11 AND 20;
    });
    my $cursor = 'SELECT id FROM t WHERE id % 10 = 0 ORDER BY embedding <=> ARRAY[0, 1]::real[]';
    $session{reader}->query_safe("BEGIN; DECLARE c CURSOR FOR $cursor");
    is($session{reader}->query_safe('FETCH 1 FROM c'), '40', 'a scan begins');
    start('vacuum', 'VACUUM (FREEZE) t');
    $node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'BufferPin'})
      or die 'VACUUM does not wait';
    return;
}

# The scan goes on, and so does VACUUM.
sub end_vacuum {
    is($session{reader}->query_safe('FETCH ALL FROM c'), "30\n10", 'the scan goes on as it began');
    $session{reader}->query_safe('COMMIT');
    is($session{vacuum}->query_safe('SELECT 1'), '1', 'VACUUM ends');
    return;
}

sub is_sound {
    my ($expected, $name) = @_;
    is(nearest(), $expected, $name);
    is($node->safe_psql('postgres', "SET enable_indexscan = off; $nearest") =~ s/\n/ /gr, $expected, 'as a sort has them');
    sound_index($node, 't_semantic', $name);
    return;
}

sub entries { return $node->safe_psql('postgres', q{SELECT vectors FROM semantic_indexes WHERE index = 't_semantic'::regclass}) }

# ---- scans and writes do not wait ---------------------------------------------------

begin_vacuum();
is(nearest(), '10 30 40', 'another scan');
is(entries(), 40, 'the dead rows are still in the index');
end_vacuum();
is(entries(), 30, 'VACUUM removes them');
is_sound('10 30 40', 'the same rows after it');

my %write = (
    INSERT => [ 'INSERT INTO t VALUES (50, ARRAY[1, 0]::real[]), (60, ARRAY[1, 0.5]::real[])', '50 10 60 30 40' ],
    UPDATE => [ 'UPDATE t SET embedding = ARRAY[1, 0]::real[] WHERE id = 40', '40 10 30' ],
    DELETE => [ 'DELETE FROM t WHERE id IN (10, 40)', '30' ],
);
for my $kind (sort keys %write) {
    my ($statement, $after) = @{ $write{$kind} };
    begin_vacuum();
    $session{other}->query_safe($statement);
    is(nearest(), $after, "$kind during VACUUM");
    end_vacuum();
    is_sound($after, "$kind committed during VACUUM");

    begin_vacuum();
    $session{other}->query_safe('BEGIN');
    $session{other}->query_safe($statement);
    is(nearest(), $after, "$kind open during VACUUM");
    end_vacuum();
    $session{other}->query_safe('COMMIT');
    is_sound($after, "$kind committed after VACUUM");

    begin_vacuum();
    $session{other}->query_safe("BEGIN; $statement");
    is(nearest(), $after, "$kind open during VACUUM");
    $session{other}->query_safe('ROLLBACK');
    end_vacuum();
    is_sound('10 30 40', "$kind rolled back during VACUUM");
    $node->safe_psql('postgres', 'VACUUM t');
    is(entries(), 30, 'of which the next VACUUM leaves nothing');
}

# ---- everything else waits until it is over -----------------------------------------

for my $statement ('VACUUM t', 'REINDEX INDEX CONCURRENTLY t_semantic', 'TRUNCATE t', 'DROP INDEX t_semantic', 'DROP TABLE t') {
    begin_vacuum();
    start('other', $statement);
    $node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted}) or die "$statement does not wait";
    end_vacuum();
    $session{other}->query_safe('SELECT 1');
    if ($statement =~ /DROP TABLE/) {
        is($node->safe_psql('postgres', q{SELECT to_regclass('t') IS NULL}), 't', "$statement after VACUUM");
    } elsif ($statement =~ /DROP INDEX/) {
        is(nearest(), '10 30 40', "$statement after VACUUM");
    } elsif ($statement =~ /TRUNCATE/) {
        is_sound('', "$statement after VACUUM");
        $session{other}->query_safe('INSERT INTO t VALUES (50, ARRAY[1, 0]::real[])');
        is_sound('50', 'rows of later');
    } else {
        is_sound('10 30 40', "$statement after VACUUM");
        is(entries(), 30, 'without the dead rows');
    }
}

$_->quit for values %session;
no_crash_in_log($node, 'VACUUM beside everything');
$node->stop;
done_testing();
