# Random calls of every function, operator and cast of the extension, and random
# statements on tables with its indexes, with values at the edges of what their types hold.
# Any error will do but an internal one (XX000 and the like), and no process may die.
# The choices are those of PG_SEMANTIC_SEED (default 1), for PG_SEMANTIC_FUZZ_SECONDS (default 20).
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use PgSemantic::TestServer;

my $seed = $ENV{PG_SEMANTIC_SEED} // 1;
my $seconds = $ENV{PG_SEMANTIC_FUZZ_SECONDS} // 20;
srand $seed;
diag("seed: PG_SEMANTIC_SEED=$seed");

# VERBOSE: internal errors with the place that raised them.
my $node = new_server('fuzz', conf => qq{
log_line_prefix = '%m [%p] %e '
log_error_verbosity = verbose
log_min_messages = error
statement_timeout = 1s
restart_after_crash = on
semantic.threads = 2
maintenance_work_mem = 16MB
});
my $objects = $ENV{PG_SEMANTIC_FUZZ_OBJECTS} // 'fuzz_objects.sql';
$node->safe_psql('postgres', slurp_file($objects));
$node->safe_psql('postgres', 'CREATE ROLE fuzzer; GRANT USAGE ON SCHEMA fuzz TO fuzzer; GRANT SELECT (id, body), INSERT, DELETE ON fuzz.docs TO fuzzer;
    ALTER TABLE fuzz.parts ENABLE ROW LEVEL SECURITY; CREATE POLICY odd ON fuzz.parts TO fuzzer USING (id % 2 = 1); GRANT ALL ON fuzz.parts TO fuzzer');

# One model of each kind, each tiny.
my %reference = (rerank => 'albert-rerank', classify => 'electra-classify', ner => 'electra-ner', qa => 'albert-qa', mlm => 'albert-mlm',
    choice => 'mobilebert-choice', encoder => 'mpnet');
my @models = ('default', 'none', '');
foreach my $name (sort keys %reference) {
    my $path = "$ENV{PG_SEMANTIC_REFERENCE}/siblings/models/$reference{$name}";
    $node->safe_psql('postgres', "SELECT semantic_load_model('$name', '$path')");
    push @models, $name;
}
foreach my $name (qw(colbert-defaults splade-distilbert)) {
    $node->safe_psql('postgres', "SELECT semantic_load_model('$name', '$ENV{PG_SEMANTIC_REFERENCE}/embedding_styles/models/$name')");
    push @models, $name;
}
# A temporary index of another session's.
my $other = $node->background_psql('postgres', timeout => $seconds + $PostgreSQL::Test::Utils::timeout_default);
$other->query_safe('CREATE TEMP TABLE temporary (v real[]); CREATE INDEX temporary_v ON temporary USING semantic (v); INSERT INTO temporary VALUES (array[1, 2])');
my $foreign = $node->safe_psql('postgres', "SELECT oid FROM pg_class WHERE relname = 'temporary_v'");

# ---- values --------------------------------------------------------------------------

sub one_of { return $_[ int rand @_ ] }

my @texts = map { "E'$_'" } '', ' ', 'x', 'how do I reset my password', 'tabs\tand\nlines\r\n\n\nparagraph', '[MASK]', 'the [MASK] of it',
  '[MASK] [MASK]', '[CLS] [SEP] [PAD]', '\U0001F600 \U0001F468\u200D\U0001F469', '\u0301\u200b\ufeff', '\x01\x02', 'This is {}.', '{}', 'simple', 'first', 'none',
  'max', 'query', 'fp16', 'int8', '/', '/nonexistent', '%s%n', '\'\'; --', 'a\\\\0b';
push @texts, "repeat('long text. ', 700)", "repeat('a', 5000)", "repeat(U&'\\4E2D', 600)", "repeat('[MASK]', 40)", "repeat(' ', 3000)";
my @indexes = (qw('fuzz.docs_body' 'fuzz.docs_short' 'fuzz.docs_upper' 'fuzz.docs_cosine' 'fuzz.docs_l2' 'fuzz.docs_ip' 'fuzz.parts_body'
  'fuzz.parts_low_body_idx' 'fuzz.parts_high_body_idx' 'fuzz.unlogged_vector' 'fuzz.empty_body'), "'fuzz.docs'", "'pg_class'",
    "'pg_class_oid_index'", '0', '1', '4294967295', $foreign, "'semantic_models'");
my @numbers = qw(NaN Infinity -Infinity 0 -0 1 -1 2.5 3.4e38 -3.4e38 1e-45 1e-20 1e20);

sub vector {
    my $kind = rand;
    return one_of("'{}'::real[]", "'{NULL}'::real[]", "'{{1,2,3},{4,5,6}}'::real[]", "'[-1:1]={1,2,3}'::real[]", "'{1,NULL,3}'::real[]",
        'NULL::real[]', 'array_fill(1::real, ARRAY[65537])', 'array_fill(0.5::real, ARRAY[16000])') if $kind < 0.15;
    return "semantic_embed(" . one_of(@texts) . ")" if $kind < 0.25;
    return "array_fill(" . one_of(qw(0 1 -1)) . "::real, ARRAY[" . one_of(1, 2, 3, 4, 32, 256) . "])" if $kind < 0.35;
    my $length = $kind < 0.8 ? 3 : 1 + int rand 6;
    my $edges = rand() < 0.3;
    return "'{" . join(',', map { $edges ? one_of(@numbers) : sprintf('%.3f', rand(20) - 10) } 1 .. $length) . "}'::real[]";
}

sub integer { return one_of(qw(NULL -2147483648 -1 0 1 2 3 4 5 10 16 100 128 129 1000 10000 100000 2147483647)) }
sub text { return rand() < 0.05 ? 'NULL' : one_of(@texts) }
sub model { return rand() < 0.1 ? 'NULL' : "'" . one_of(@models) . "'" }
sub query {
    return one_of('NULL::semantic_query', text() . '::semantic_query', 'semantic_query(' . text() . '::text, ' . model() . ', ' . text() . ')',
        'semantic_query(' . vector() . ', ' . model() . ')', text() . '::text::semantic_query');
}

# An expression of an argument's type; its name says whether a text is a model's.
sub value_of {
    my ($type, $name) = @_;
    return model() . '::text' if $type eq 'text' && $name =~ /model/;
    return text() . '::text' if $type eq 'text';
    return text() . '::cstring' if $type eq 'cstring';
    return integer() . '::int' if $type eq 'integer';
    return one_of('NULL', 'true', 'false') . '::boolean' if $type eq 'boolean';
    return one_of(@indexes) . "::regclass" if $type eq 'regclass' || $type eq 'oid';
    return vector() if $type eq 'real[]';
    return query() if $type eq 'semantic_query';
    return one_of('NULL', "'{}'", "'{NULL}'", "'{{a,b},{c,d}}'", "'[-3:-1]={x,y,z}'", "array_fill('many'::text, ARRAY[200])",
        'ARRAY[' . join(', ', map { text() } 1 .. 1 + int rand 5) . ']') . '::text[]' if $type eq 'text[]';
    die "no values of type $type";
}

# ---- statements ----------------------------------------------------------------------

my @functions = map { [ split /\|/, $_, -1 ] } split /\n/, $node->safe_psql('postgres', q{
    SELECT p.oid::regproc, coalesce(string_agg(format_type(t, NULL) || ' ' || coalesce(p.proargnames[n], ''), ',' ORDER BY n), ''), p.pronargdefaults
    FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_semantic'
    LEFT JOIN LATERAL unnest(p.proargtypes) WITH ORDINALITY AS a(t, n) ON true
    WHERE 'internal'::regtype <> ALL (p.proargtypes) GROUP BY p.oid ORDER BY p.oid::regprocedure::text COLLATE "C"});
my %called;

sub call {
    my ($name, $arguments, $defaults) = @{ one_of(@functions) };
    my @arguments = map { [ split / /, $_ ] } split /,/, $arguments;
    $called{$name}++;
    my $given = @arguments - ($defaults && rand() < 0.3 ? int rand($defaults + 1) : 0);
    my @values = map { value_of(@$_[ 0, 1 ]) } map { [ $_->[0], $_->[1] // '' ] } @arguments[ 0 .. $given - 1 ];
    my $call = "$name(" . join(', ', @values) . ')';
    return one_of("SELECT * FROM $call", "SELECT $call", "SELECT count(*) FROM $call AS r, generate_series(1, 2)", "SELECT ($call) IS NULL");
}

sub distance {
    return one_of('body <=> ' . query(), 'short <=> ' . query(), 'upper(body) <=> ' . query(), map { "vector $_ " . vector() } '<=>', '<->', '<#>');
}

sub scan {
    my $order = distance();
    my $where = one_of('true', 'flag', 'id < 20', 'id = ' . int(rand 300), 'body IS NULL', "$order < 0.5", 'id IN (1, 2, 300, 301)', "body LIKE '%bread%'");
    my $limit = one_of('', 'LIMIT 0', 'LIMIT 1', 'LIMIT 5', 'LIMIT 1000000000', 'LIMIT 3 OFFSET 10');
    my $query = 'SELECT id, ' . one_of('1', $order, 'ctid', 'docs') . " FROM fuzz.docs WHERE $where ORDER BY $order " . one_of('', '', 'DESC', ', id') . " $limit";
    return one_of($query, $query, "EXPLAIN (ANALYZE, VERBOSE) $query", "$query FOR UPDATE SKIP LOCKED",
        "SELECT count(*) FROM (VALUES (1), (2)) v(n), LATERAL (SELECT id FROM fuzz.docs ORDER BY $order LIMIT v.n) q",
        "DO \$\$ DECLARE c CURSOR FOR $query; r record; BEGIN FOR r IN c LOOP EXIT WHEN random() < 0.2; END LOOP; END \$\$",
        'SELECT id FROM fuzz.parts ORDER BY body <=> ' . query() . " $limit");
}

sub write_rows {
    my $id = 301 + int rand 1000;
    my $change = one_of("INSERT INTO fuzz.docs VALUES ($id, " . text() . ', left(' . text() . ', 40), ' . vector() . ', ' . one_of('true', 'false') . ') ON CONFLICT (id) DO '
          . one_of('NOTHING', 'UPDATE SET body = excluded.body, vector = excluded.vector'),
        'UPDATE fuzz.docs SET ' . one_of('body = ' . text(), 'vector = ' . vector(), 'flag = NOT flag', 'short = NULL') . ' WHERE id % 50 = ' . int(rand 50),
        'DELETE FROM fuzz.docs WHERE id = ' . int(rand 1300), 'INSERT INTO fuzz.unlogged VALUES (1, ' . vector() . ')',
        'INSERT INTO fuzz.parts VALUES (' . integer() . ', ' . text() . ')');
    return one_of($change, $change, "BEGIN; $change; SAVEPOINT s; " . scan() . '; ROLLBACK TO s; ' . scan() . '; ' . one_of('COMMIT', 'ROLLBACK'));
}

sub define {
    my $column = one_of('body', 'short', 'vector', 'vector real_l2_ops', 'vector real_ip_ops', 'upper(body)', 'id', 'body real_cosine_ops', 'flag, body', 'semantic_embed(body)');
    my $options = one_of('', 'WITH (model = ' . one_of(grep { /\w/ } map { "\"$_\"" } @models) . ')', 'WITH (codec = ' . one_of(qw(auto bit sq8 f16 f32 odd)) . ')',
        'WITH (dimensions = ' . one_of(-1, 0, 1, 16, 256, 65536) . ')', 'WITH (chunk_tokens = 5)', 'WITH (embed = deferred)', 'WITH (fillfactor = 10)');
    return one_of("BEGIN; CREATE " . one_of('', '', 'UNIQUE ') . "INDEX ON fuzz.docs USING semantic ($column) $options; " . scan() . '; ROLLBACK',
        'BEGIN; CREATE TEMP TABLE mine AS SELECT * FROM fuzz.docs LIMIT 50; CREATE INDEX ON mine USING semantic (vector); UPDATE mine SET vector = ' . vector()
          . ' WHERE id = 3; SELECT id FROM mine ORDER BY vector <=> ' . vector() . '; ROLLBACK',
        'REINDEX INDEX ' . one_of(qw(fuzz.docs_l2 fuzz.docs_short fuzz.unlogged_vector)), 'VACUUM fuzz.docs', 'TRUNCATE fuzz.unlogged', 'ANALYZE fuzz.docs',
        'ALTER INDEX fuzz.docs_upper SET (dimensions = ' . one_of(0, 8, 16, 999) . ')', 'SELECT * FROM semantic_indexes', 'SELECT * FROM semantic_models');
}

sub set {
    return one_of('SET semantic.recall = ' . one_of(qw(0.1 0.5 0.95 1 2 NaN)), 'SET semantic.max_candidates = ' . one_of(-1, 0, 1, 1073741823),
        'SET semantic.threads = ' . one_of(0, 1, 2, 256, 257), 'SET semantic.model = ' . model(), 'SET semantic.rerank_model = ' . model(), 'RESET ALL',
        map({ "SET $_ = " . one_of('on', 'off') } qw(enable_seqscan enable_sort enable_indexscan enable_bitmapscan semantic.enable_filter_scan)),
        'SET force_parallel_mode = ' . one_of('on', 'off'), 'SET ROLE fuzzer', 'RESET ROLE', 'RESET ROLE', 'RESET ROLE', "SET work_mem = '64kB'", "SET jit = off");
}

sub statement {
    my $kind = rand;
    return call() if $kind < 0.5;
    return scan() if $kind < 0.75;
    return write_rows() if $kind < 0.87;
    return set() if $kind < 0.95;
    return define();
}

# ---- the run -------------------------------------------------------------------------

my $log_start = -s $node->logfile;
my ($statements, $deaths) = (0, 0);
my $end = time + $seconds;
my $file = "$PostgreSQL::Test::Utils::tmp_check/statements.sql";
while (time < $end || $statements < 900) {
    # A session each: psql goes on after errors, and ends with 2 where it loses the server.
    my @batch = map { statement() . ';' } 1 .. 150;
    unlink $file;
    append_to_file($file, join "\n", @batch);
    my ($output, $error) = ('', '');
    my $ended = IPC::Run::run([ $node->installed_command('psql'), '-X', '-q', '-At', '-v', 'ON_ERROR_STOP=0', '-d', $node->connstr('postgres'), '-f', $file ],
        '>', \$output, '2>', \$error);
    $statements += @batch;
    next if $error !~ /connection to server was lost|server closed the connection/;
    diag("the server was lost in $file");
    $deaths++;
    last;
}
diag("$statements statements");
is($deaths, 0, 'no session lost its server');
my @never = grep { !$called{$_} } map { $_->[0] } @functions;
is("@never", '', 'every function was called');

my $log = substr(slurp_file($node->logfile), $log_start);
my @internal = grep { /\] (XX\w{3}|F0000|58000) (ERROR|FATAL|PANIC)/ } split /\n(?=\d{4}-)/, $log;
# The same error once, with its statement.
my %seen;
my @kinds = grep { my ($what) = /(?:ERROR|FATAL|PANIC):  (.{0,60})/; !$seen{ $what // '' }++ } @internal;
is(scalar @internal, 0, 'no internal error') or do { diag($_) foreach @kinds[ 0 .. ($#kinds > 9 ? 9 : $#kinds) ]; diag("$_") foreach grep { /STATEMENT/ } @internal };
my %states;
$states{$_}++ foreach $log =~ /\] (\w{5}) ERROR:/g;
note("errors by SQLSTATE: ", join(', ', map { "$_ $states{$_}" } sort keys %states));
foreach my $index (qw(docs_body docs_short docs_upper docs_cosine docs_l2 docs_ip parts_low_body_idx parts_high_body_idx unlogged_vector)) {
    sound_index($node, "fuzz.$index", 'afterwards');
}
$other->quit;
no_crash_in_log($node, 'fuzz');
$node->stop;
done_testing();
