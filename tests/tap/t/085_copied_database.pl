# An index of texts that was copied with its database takes the vectors of the original's entries: no text is embedded
# again that need not be, and the index is what a build would have made.
use strict;
use warnings;
use File::Path qw(rmtree);
use PostgreSQL::Test::Utils;
use Test::More;
use PgSemantic::TestServer;

my $node = new_server('copied', conf => 'autovacuum = off');
my @codecs = qw(bit sq8 f16 f32);
sub sql { my ($database, $query) = @_; return $node->safe_psql($database, $query) }
for my $codec (@codecs) {
    sql('postgres', qq{
        CREATE TABLE texts_$codec (id int, body text);
        INSERT INTO texts_$codec SELECT i, 'text number ' || i || ' of ' || md5(i::text) FROM generate_series(1, 600) AS i;
        INSERT INTO texts_$codec VALUES (601, NULL), (602, '');
        CREATE INDEX index_$codec ON texts_$codec USING semantic (body) WITH (codec = '$codec')});
}
sql('postgres', q{
    CREATE TABLE changed AS SELECT * FROM texts_bit;
    CREATE INDEX index_changed ON changed USING semantic (body) WITH (dimensions = 64)});

# Distances of all rows, from the index, to the last bit.
sub distances {
    my ($database, $table) = @_;
    return sql($database, qq{
        SET enable_seqscan = off; SET enable_sort = off; SET semantic.recall = 1; SET extra_float_digits = 3;
        SELECT id, body <=> 'number 77' FROM $table ORDER BY body <=> 'number 77'});
}
sub problems { my ($database, $index) = @_; return sql($database, "SELECT problem, ctid FROM semantic_index_check('$index')") }

# How many vectors an index took from its original since the log had this length; '': it was not made its own.
sub taken_since {
    my ($log_end, $index) = @_;
    my $log = substr slurp_file($node->logfile), $log_end;
    return join ', ', $log =~ /semantic index "$index", copied with its database, has rows of its own now\n[^\n]*DETAIL:  (\d+) of its vectors were taken from the original/g;
}
sub log_end { return -s $node->logfile }

# ---- a copy of what did not change ------------------------------------------------------------
sql('postgres', 'CREATE DATABASE copied TEMPLATE postgres');
my $log_end = log_end();
my $session = open_session($node);
my $pid = session_runs($session, "\\c copied\nSELECT pg_backend_pid();");
for my $codec (@codecs) {
    session_runs($session, "SELECT semantic_index_recall('index_$codec');");
    is(taken_since($log_end, "index_$codec"), '601', "$codec: every vector is taken");
}
is(encoder_thread_count($pid), 0, 'nothing was embedded: the session has no threads to do so');
for my $codec (@codecs) {
    is(distances('copied', "texts_$codec"), distances('postgres', "texts_$codec"), "$codec: the distances are the original's");
    is(problems('copied', "index_$codec"), '', "$codec: soundly");
    is(sql('copied', "SELECT semantic_index_repair('index_$codec')"), '0', "$codec: there is nothing to repair");
}

# ---- both have changed since ---------------------------------------------------------------------
# In the original, places are taken by other rows; in the copy one row has another text.
sql('postgres', q{
    DELETE FROM changed WHERE id <= 10;
    UPDATE changed SET body = 'another text' WHERE id = 20});
sql('postgres', 'VACUUM changed');
sql('postgres', "INSERT INTO changed SELECT 1000 + i, 'secret number ' || i FROM generate_series(1, 50) AS i");
$log_end = log_end();
is(sql('copied', q{
    SET enable_seqscan = off;
    UPDATE changed SET body = 'a very special word' WHERE id = 30;
    SELECT id FROM changed ORDER BY body <=> 'a very special word' LIMIT 1}), '30', 'a copied index that is written to first');
# 601, less 10 deleted and one updated in the original; the copy has the old version of its row, too.
is(taken_since($log_end, 'index_changed'), '590', 'only what agrees is taken');
is(problems('copied', 'index_changed'), '', 'the others are embedded');
sql('copied', 'CREATE TABLE fresh AS SELECT * FROM changed; CREATE INDEX ON fresh USING semantic (body) WITH (dimensions = 64)');
is(distances('copied', 'changed'), distances('copied', 'fresh'), 'the distances are those of an index that is built anew');
is(distances('copied', 'changed') =~ /^10\d\d\|/m ? 1 : 0, 0, 'no row of the original is in it');
is(problems('postgres', 'index_changed'), '', "the original's rows are its own");

# ---- a copy of a copy, and crashes ----------------------------------------------------------------
end_session($session);
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'copied'");
sql('postgres', 'CREATE DATABASE again TEMPLATE copied');
$log_end = log_end();
my $expected = distances('copied', 'texts_bit');
is(distances('again', 'texts_bit'), $expected, 'a copy of a copy');
is(taken_since($log_end, 'index_bit'), '601', 'takes the vectors of that');
crash_server($node);
is(distances('again', 'texts_bit'), $expected, 'which are there after a crash');
is(problems('again', 'index_bit'), '', 'soundly');

# ---- the original is gone ----------------------------------------------------------------------------
sql('postgres', 'CREATE DATABASE orphan TEMPLATE again');
sql('postgres', 'DROP DATABASE again');
sql('copied', 'VACUUM texts_bit');
$node->poll_query_until('orphan', 'SELECT count(*) > 0 FROM pg_class');
$log_end = log_end();
is(distances('orphan', 'texts_bit'), $expected, 'a copy whose original was dropped');
is(taken_since($log_end, 'index_bit'), '0', 'is embedded');
$node->stop;
rmtree([ glob $node->data_dir . '/pg_semantic/pgsql_tmp.*' ]);
rmtree([ glob $node->data_dir . '/pg_semantic/copy.*' ]);
$node->start;
is(distances('orphan', 'texts_sq8'), distances('postgres', 'texts_sq8'), 'a copy whose original is lost');
is(problems('orphan', 'index_sq8'), '', 'is embedded');

# ---- the original cannot be read -----------------------------------------------------------------
# Its list of rows can, its vectors cannot.
$expected = distances('postgres', 'texts_bit');  # repairs it
sql('postgres', 'CREATE DATABASE unlucky TEMPLATE postgres');
sql('postgres', 'CHECKPOINT');
$node->stop;
my $damaged = 0;
for my $path (glob $node->data_dir . '/pg_semantic/pgsql_tmp.index/*.sst') {
    my $bytes = slurp_file($path, 0);
    next unless $bytes =~ /name.{0,4}vectors/s;  # the file's column family
    open my $file, '+<:raw', $path or die $!;
    for (my $at = 0; $at < 0.8 * length $bytes; $at += 10000) {
        seek $file, $at, 0;
        print $file 'x' x 64;
    }
    close $file;
    $damaged++;
}
cmp_ok($damaged, '>', 0, "files with vectors are damaged ($damaged)");
$node->start;
$log_end = log_end();
$session = open_session($node);
$pid = session_runs($session, "\\c unlucky\nSELECT pg_backend_pid();");
session_runs($session, "SELECT semantic_index_recall('index_bit');");
is(taken_since($log_end, 'index_bit'), '0', 'damaged vectors are not taken');
my $threads = $node->safe_psql('postgres', 'SHOW max_parallel_maintenance_workers') > 0 && `nproc` > 1;
cmp_ok(encoder_thread_count($pid), '>', 0, 'the texts are embedded: the session has threads to do so') if $threads;
is(distances('unlucky', 'texts_bit'), $expected, 'and the distances are right');
end_session($session);

no_crash_in_log($node, 'copied databases');
$node->stop;
done_testing();
