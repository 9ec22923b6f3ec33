# Models with a head beyond what the conformance examples say: errors that need
# such a model, reranking of an index's rows, several backends, parallel workers.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use PgSemantic::TestServer;

my @models = qw(bert-cross-encoder distilbert-reranker bert-emotions bert-nli distilbert-nli distilbert-ner
  distilbert-qa-short bert-mlm distilbert-choice);
if (!defined model_path('bert-cross-encoder'))
{
	diag('SKIP: no conformance data');
	plan skip_all => 'SKIP: no conformance data';
}

my $node = new_server('heads');
foreach my $model (@models)
{
	my $path = model_path($model);
	$node->safe_psql('postgres', "SELECT semantic_load_model('$model', '$path')");
}

# [SQL, SQLSTATE, what it says]
my @refused = (
	[ q{semantic_rerank('q', '{a}', 'bert-emotions')}, '0A000', qr/not a reranker.*6 labels/s ],
	[ q{semantic_rerank('q', '{a}', 'bert-cross-encoder', 0)}, '22023', qr/top_k must be at least 1, not 0/ ],
	[ q{semantic_classify('x', 'distilbert-ner')}, '0A000', qr/no head for sequence-classification.*token-classification/s ],
	[ q{semantic_zero_shot('x', '{a}', 'bert-emotions')}, '0A000', qr/natural language inference/ ],
	[ q{semantic_zero_shot('x', '{a}', 'bert-nli', 'no place')}, '22023', qr/template has no place/ ],
	[ q{semantic_zero_shot('x', '{a}', 'bert-nli', NULL)}, '22004', qr/template must not be NULL/ ],
	[ q{semantic_zero_shot('x', '{a,NULL}', 'bert-nli')}, '22004', qr/labels must not contain NULL/ ],
	[ q{semantic_zero_shot('x', ARRAY[repeat('long ', 100)], 'bert-nli')}, '22023', qr/label is too long/ ],
	[ q{semantic_choose('x', '{a,NULL}', 'distilbert-choice')}, '22004', qr/choices must not contain NULL/ ],
	[ q{semantic_entities('x', 'distilbert-ner', 'most')}, '22023', qr/unknown aggregation "most".*average/s ],
	[ q{semantic_answer('x', 'y', 'distilbert-qa-short', 0)}, '22023', qr/top_k must be at least 1/ ],
	[ q{semantic_answer('x', 'y', 'distilbert-qa-short', 1, 0)}, '22023', qr/max_answer_tokens must be at least 1/ ],
	[ q{semantic_answer(repeat('x ', 100), 'y', 'distilbert-qa-short')}, '22023', qr/question is too long/ ],
	[ q{semantic_fill_mask('none', 'bert-mlm')}, '22023', qr/must have one \[MASK\].*none/s ],
	[ q{semantic_fill_mask('[MASK] [MASK]', 'bert-mlm')}, '22023', qr/must have one \[MASK\].*It has 2/s ],
	[ q{semantic_fill_mask(repeat('a ', 100) || '[MASK]', 'bert-mlm')}, '22023', qr/too far/ ],
	[ q{semantic_fill_mask('[MASK]', 'bert-mlm', 0)}, '22023', qr/top_k must be at least 1/ ]);
foreach my $case (@refused)
{
	my ($call, $sqlstate, $message) = @$case;
	my ($status, undef, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT * FROM $call");
	isnt($status, 0, "$call is refused");
	like($err, qr/ERROR:  $sqlstate:.*$message/s, "… with $sqlstate");
}

is( $node->safe_psql('postgres', q{
		SELECT string_agg(ordinal || coalesce(document, ' NULL'), ',' ORDER BY ordinality), count(score)
		FROM semantic_rerank('q', ARRAY['a', NULL, 'a', NULL], 'bert-cross-encoder') WITH ORDINALITY}),
	'1a,3a,2 NULL,4 NULL|2', 'equal documents keep their order, NULL ones come last without a score');
is($node->safe_psql('postgres', q{SELECT count(*) FROM semantic_rerank('q', '{}', 'bert-cross-encoder')}),
	'0', 'nothing to rerank');

# An index's rows: what semantic_search gives is the reranking of its candidates.
$node->safe_psql('postgres', q{
	CREATE TABLE documents (id int PRIMARY KEY, body text);
	INSERT INTO documents SELECT i, 'Text ' || i || ' about ' || (ARRAY['cats', 'dogs', 'banks', 'rain'])[i % 4 + 1]
	FROM generate_series(1, 400) AS i;
	CREATE INDEX documents_body ON documents USING semantic (body)});
foreach my $reranker (qw(bert-cross-encoder distilbert-reranker))
{
	is( $node->safe_psql('postgres', qq{
			WITH candidates AS (
			    SELECT array_agg(content ORDER BY ordinality) AS contents
			    FROM semantic_search('documents_body', 'cats', 50) WITH ORDINALITY),
			by_hand AS (
			    SELECT row_number() OVER (), document, score
			    FROM candidates, semantic_rerank('cats', contents, '$reranker', 7)),
			searched AS (
			    SELECT row_number() OVER (), content, score
			    FROM semantic_search('documents_body', 'cats', 7, '$reranker', 50))
			SELECT count(*), count(*) FILTER (WHERE document = content),
			       max(abs(by_hand.score - searched.score)) < 1e-5
			FROM by_hand JOIN searched USING (row_number)}),
		'7|7|t', "semantic_search with $reranker");
}
is( $node->safe_psql('postgres', q{
		SET semantic.rerank_model = 'bert-cross-encoder';
		SELECT count(*) FROM (SELECT content, score FROM semantic_search('documents_body', 'cats', 5, '', 40)
		                      EXCEPT SELECT content, score
		                      FROM semantic_search('documents_body', 'cats', 5, 'bert-cross-encoder', 40)) AS differing}),
	'0', 'an empty name is that of the setting');
is($node->safe_psql('postgres', q{SELECT count(*) FROM semantic_search('documents_body', 'x', 20, 'bert-cross-encoder', 5)}),
	'20', 'as many rows as asked for, however few the candidates');
my ($status, undef, $err) = $node->psql('postgres',
	"\\set VERBOSITY verbose\nSELECT * FROM semantic_search('documents_body', 'x', 5, '')");
like($err, qr/22023: there is no model for reranking.*HINT/s, 'without a model it asks for one');
($status, undef, $err) = $node->psql('postgres',
	"\\set VERBOSITY verbose\nSELECT * FROM semantic_search('documents_body', 'x', 5, 'bert-cross-encoder', 0)");
like($err, qr/22023: candidates must be at least 1/, 'no candidates');
$node->safe_psql('postgres', q{
	CREATE TABLE vectors (embedding real[]);
	INSERT INTO vectors SELECT semantic_embed(body) FROM documents LIMIT 20;
	CREATE INDEX vectors_embedding ON vectors USING semantic (embedding real_cosine_ops)});
($status, undef, $err) = $node->psql('postgres',
	"\\set VERBOSITY verbose\nSELECT * FROM semantic_search('vectors_embedding', 'x', 5, 'bert-cross-encoder')");
like($err, qr/0A000:.*cannot be reranked/s, 'vectors cannot be reranked');

# Parallel workers give what one process gives.
my $scores = q{SELECT md5(string_agg(semantic_score('cats', body, 'bert-cross-encoder')::numeric(8, 4)::text, ',' ORDER BY id))
	FROM documents};
my $alone = $node->safe_psql('postgres', "SET max_parallel_workers_per_gather = 0; $scores");
my $parallel_settings = q{
	SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
	SET min_parallel_table_scan_size = 0;};
my $parallel = qq{SELECT md5(string_agg(score::numeric(8, 4)::text, ',' ORDER BY id))
	FROM (SELECT id, semantic_score('cats', body, 'bert-cross-encoder') AS score FROM documents OFFSET 0) AS scored};
like($node->safe_psql('postgres', "$parallel_settings EXPLAIN $parallel"), qr/Gather/, 'a parallel plan');
is($node->safe_psql('postgres', "$parallel_settings $parallel"), $alone, 'the same scores in parallel');

# The same heads over rounded weights: half precision moves a score by thousandths
# (tests/unit has the references), int8 by hundredths at these checkpoints' 32 columns.
foreach my $precision ([ 'fp16', 0.003 ], [ 'int8', 0.1 ])
{
	my ($name, $tolerance) = @$precision;
	foreach my $model (qw(bert-cross-encoder bert-mlm))
	{
		my $path = model_path($model);
		$node->safe_psql('postgres', "SELECT semantic_load_model('$model $name', '$path', '$name')");
	}
	my $difference = $node->safe_psql('postgres', qq{
		SELECT max(abs(semantic_score(body, 'cats', 'bert-cross-encoder') - semantic_score(body, 'cats', 'bert-cross-encoder $name')))
		FROM documents});
	cmp_ok($difference, '<', $tolerance, "$name: scores of a cross-encoder");
	cmp_ok($difference, '>', 0, "$name: which are not quite the same");
	$difference = $node->safe_psql('postgres', qq{
		SELECT count(*), max(abs(full_one.score - rounded.score))
		FROM semantic_fill_mask('the [MASK] sat', 'bert-mlm', 1000) AS full_one
		     JOIN semantic_fill_mask('the [MASK] sat', 'bert-mlm $name', 1000) AS rounded USING (token)});
	like($difference, qr/^[1-9]\d*\|/, "$name: a mask is filled");
	cmp_ok((split /\|/, $difference)[1], '<', $tolerance, "$name: with nearly the same");
}

# A long call ends when it is told to.
($status, undef, $err) = $node->psql('postgres', q{
	SET statement_timeout = '300ms';
	SELECT count(*) FROM semantic_answer('what', repeat('some words about nothing ', 200000), 'distilbert-qa-short')});
like($err, qr/canceling statement due to statement timeout/, 'a statement timeout interrupts');

no_crash_in_log($node, 'heads');
$node->stop;
done_testing();
