# Every checkpoint of ../shared/conformance, and our own of BERT's siblings
# (tests/reference/siblings), through SQL, without shared_preload_libraries: what
# semantic_models says of it, its tokens, its embeddings one by one and as a batch,
# its hidden states, and what its head says.  The expected values come from the
# published tokenizer and independent references in double precision; the
# tolerances are those of ../shared/conformance/README.md.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $shared = $ENV{PG_SEMANTIC_SHARED} // '';
my $models = $ENV{PG_SEMANTIC_MODELS} // '';
my $has_shared = -d "$shared/conformance/expected" && -d $models;
# [ file of expected values, directory of checkpoints ]
my @expected = map { [ $_, "$ENV{PG_SEMANTIC_REFERENCE}/siblings/models" ] } sort glob("$ENV{PG_SEMANTIC_REFERENCE}/siblings/expected/*.json");
push @expected, map { [ $_, $models ] } sort glob("$shared/conformance/expected/*.json") if $has_shared;
cmp_ok(scalar @expected, '>', 40, 'there are checkpoints');

$ENV{PGCLIENTENCODING} = 'UTF8';
my $node = PostgreSQL::Test::Cluster->new('conformance');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "fsync = off\njit = off\n");
$node->start;

# Comparisons, on the server: `found` against the reference's JSON.
my $tools = <<'SQL';
CREATE EXTENSION pg_semantic;
CREATE TABLE reference (model text PRIMARY KEY, expected jsonb);
-- Largest difference, in units of max(1, largest absolute value of the expected vector).
CREATE FUNCTION vector_error(found real[], expected jsonb) RETURNS float8 LANGUAGE sql AS $$
    SELECT CASE WHEN cardinality(found) = jsonb_array_length(expected)
           THEN max(abs(f - (e #>> '{}')::float8)) / greatest(1, max(abs((e #>> '{}')::float8)))
           ELSE 'infinity' END
    FROM unnest(found) WITH ORDINALITY AS found_element(f, i)
         JOIN jsonb_array_elements(expected) WITH ORDINALITY AS expected_element(e, i) USING (i) $$;
CREATE FUNCTION vector_cosine(found real[], expected jsonb) RETURNS float8 LANGUAGE sql AS $$
    SELECT sum(f * (e #>> '{}')::float8) / sqrt(sum(f::float8 * f) * sum((e #>> '{}')::float8 ^ 2))
    FROM unnest(found) WITH ORDINALITY AS found_element(f, i)
         JOIN jsonb_array_elements(expected) WITH ORDINALITY AS expected_element(e, i) USING (i) $$;
CREATE FUNCTION expected_entries(model_name text, kind text) RETURNS TABLE(number bigint, entry jsonb)
    LANGUAGE sql AS $$
    SELECT ordinality, value FROM reference, jsonb_array_elements(expected -> kind) WITH ORDINALITY
    WHERE model = model_name $$;
-- Offsets as [[start, end] …], null for the added special tokens.
CREATE FUNCTION found_tokens(content text, model_name text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('ids', jsonb_agg(id ORDER BY ordinal), 'tokens', jsonb_agg(token ORDER BY ordinal),
        'offsets', jsonb_agg(CASE WHEN char_start IS NULL THEN 'null'::jsonb
                                  ELSE jsonb_build_array(char_start, char_end) END ORDER BY ordinal))
    FROM semantic_tokenize(content, model_name) $$;
-- Rankings [[what, score] …]: scores to 1e-4, the same order except between scores closer than that.
CREATE FUNCTION rankings_agree(found jsonb, expected jsonb) RETURNS boolean LANGUAGE sql AS $$
    SELECT jsonb_array_length(coalesce(found, '[]')) = jsonb_array_length(expected) AND coalesce(bool_and(
        abs((f ->> 1)::float8 - (e ->> 1)::float8) <= 1e-4 AND
        (f -> 0 = e -> 0 OR EXISTS (SELECT FROM jsonb_array_elements(expected) AS same
                                    WHERE same -> 0 = f -> 0 AND abs((same ->> 1)::float8 - (e ->> 1)::float8) <= 1e-4))), true)
    FROM jsonb_array_elements(found) WITH ORDINALITY AS found_entry(f, i)
         JOIN jsonb_array_elements(expected) WITH ORDINALITY AS expected_entry(e, i) USING (i) $$;
CREATE FUNCTION texts(list jsonb) RETURNS text[] LANGUAGE sql AS $$
    SELECT array_agg(value ORDER BY ordinality) FROM jsonb_array_elements_text(list) WITH ORDINALITY $$;
SQL
$node->safe_psql('postgres', $tools);

sub quote_literal
{
	my ($value) = @_;
	$value =~ s/'/''/g;
	return "'$value'";
}

# Rows that a query gives are differences; none means agreement.  Of a checkpoint, only
# what is expected of it is asked.
sub no_rows
{
	my ($sql, $name, $database) = @_;
	my ($status, $out, $err) = $node->psql($database // 'postgres', $sql);
	is($status, 0, "$name runs") or diag($err);
	is($out, '', $name);
	return;
}

foreach my $example (@expected)
{
	my ($file, $checkpoints) = @$example;
	my ($model) = $file =~ m{([^/]+)\.json$};
	my $name = quote_literal($model);
	my $directory = quote_literal("$checkpoints/$model");
	my $json_file = quote_literal($file);
	my ($status, undef, $err) = $node->psql('postgres',
		"INSERT INTO reference VALUES ($name, pg_read_file($json_file)::jsonb); SELECT semantic_load_model($name, $directory)",
		on_error_stop => 1);
	is($status, 0, "$model loads") or diag($err);
	next if $status != 0;
	my $expected_text = slurp_file($file);
	my $has = sub { my ($key) = @_; return $expected_text =~ /"$key":/; };

	no_rows(qq{
		SELECT key, expected -> key AS expected, found -> key AS found
		FROM reference, (SELECT to_jsonb(m) AS found FROM semantic_models m WHERE name = $name) AS row,
		     unnest(ARRAY['task', 'architecture', 'max_tokens', 'vocabulary_size', 'layers', 'dimensions',
		                  'pooling', 'normalized', 'labels']) AS key
		WHERE model = $name AND expected ? key AND expected -> key IS DISTINCT FROM found -> key},
		"$model: semantic_models");

	no_rows(qq{
		SELECT number, key, left(entry ->> 'text', 60)
		FROM expected_entries($name, 'tokenize'), found_tokens(entry ->> 'text', $name) AS found,
		     unnest(ARRAY['ids', 'tokens', 'offsets']) AS key
		WHERE entry ? key AND entry -> key IS DISTINCT FROM found -> key},
		"$model: semantic_tokenize")
		if $has->('tokenize');
	no_rows(qq{
		SELECT number FROM expected_entries($name, 'tokenize')
		WHERE semantic_count_tokens(entry ->> 'text', $name) IS DISTINCT FROM jsonb_array_length(entry -> 'ids')},
		"$model: semantic_count_tokens")
		if $has->('tokenize');

	no_rows(qq{
		SELECT number, left(entry ->> 'text', 60), vector_error(found, entry -> 'embedding'),
		       vector_cosine(found, entry -> 'embedding')
		FROM expected_entries($name, 'embed'),
		     LATERAL (SELECT semantic_embed(entry ->> 'text', $name, entry ->> 'prompt') OFFSET 0) AS row(found)
		WHERE (vector_error(found, entry -> 'embedding') <= 2e-5 AND
		       vector_cosine(found, entry -> 'embedding') >= 0.99999) IS NOT TRUE},
		"$model: semantic_embed")
		if $has->('embed');

	# All texts of one prompt together, and a NULL among them.
	no_rows(qq{
		WITH batches AS (
		    SELECT entry -> 'prompt' AS prompt, array_agg(entry ->> 'text' ORDER BY number) || NULL::text AS contents,
		           jsonb_agg(entry -> 'embedding' ORDER BY number) AS embeddings
		    FROM expected_entries($name, 'embed') GROUP BY 1)
		SELECT prompt, ordinal, vector_error(embedding, embeddings -> (ordinal - 1))
		FROM batches, semantic_embed_batch(contents, $name, prompt #>> '{}')
		WHERE CASE WHEN ordinal = cardinality(contents) THEN embedding IS NOT NULL
		           ELSE (vector_error(embedding, embeddings -> (ordinal - 1)) <= 2e-5) IS NOT TRUE END},
		"$model: semantic_embed_batch")
		if $has->('embed');

	no_rows(qq{
		SELECT number, ordinal, token, vector_error(embedding, entry -> 'embeddings' -> (ordinal - 1))
		FROM expected_entries($name, 'token_embeddings'), semantic_token_embeddings(entry ->> 'text', $name)
		WHERE (token = entry -> 'tokens' ->> (ordinal - 1) AND
		       vector_error(embedding, entry -> 'embeddings' -> (ordinal - 1)) <= 2e-5) IS NOT TRUE
		UNION ALL
		SELECT number, -1, 'number of rows', NULL FROM expected_entries($name, 'token_embeddings')
		WHERE (SELECT count(*) FROM semantic_token_embeddings(entry ->> 'text', $name)) <>
		      jsonb_array_length(entry -> 'tokens')},
		"$model: semantic_token_embeddings")
		if $has->('token_embeddings');

	# Heads: each key with the ranking that its function gives.
	my %rankings = (
		classify => [ 'labels', q{SELECT jsonb_agg(jsonb_build_array(label, score) ORDER BY ordinality)
			FROM semantic_classify(entry ->> 'text', %s, entry ->> 'pair') WITH ORDINALITY} ],
		rerank => [ 'scores', q{SELECT jsonb_agg(jsonb_build_array(ordinal, score) ORDER BY ordinality)
			FROM semantic_rerank(entry ->> 'query', texts(entry -> 'documents'), %s, (entry ->> 'top_k')::int) WITH ORDINALITY
			WHERE document = entry -> 'documents' ->> (ordinal - 1)} ],
		zero_shot => [ 'scores', q{SELECT jsonb_agg(jsonb_build_array(label, score) ORDER BY ordinality)
			FROM semantic_zero_shot(entry ->> 'text', texts(entry -> 'labels'), %s, entry ->> 'template',
			                        (entry ->> 'multi_label')::boolean) WITH ORDINALITY} ],
		choose => [ 'scores', q{SELECT jsonb_agg(jsonb_build_array(ordinal, score) ORDER BY ordinality)
			FROM semantic_choose(entry ->> 'prompt', texts(entry -> 'choices'), %s) WITH ORDINALITY
			WHERE choice = entry -> 'choices' ->> (ordinal - 1)} ]);
	foreach my $key (sort keys %rankings)
	{
		next if !$has->($key);
		my ($wanted, $query) = @{ $rankings{$key} };
		$query = sprintf($query, $name);
		no_rows(qq{
			SELECT number, found, entry -> '$wanted'
			FROM expected_entries($name, '$key'), LATERAL ($query) AS row(found)
			WHERE rankings_agree(found, entry -> '$wanted') IS NOT TRUE},
			"$model: semantic_$key");
	}
	no_rows(qq{
		SELECT number, ordinal, score
		FROM expected_entries($name, 'rerank'),
		     LATERAL (SELECT (e ->> 0)::int AS ordinal, (e ->> 1)::float8 AS score
		              FROM jsonb_array_elements(entry -> 'scores') AS e) AS expected
		WHERE (abs(semantic_score(entry ->> 'query', entry -> 'documents' ->> (ordinal - 1), $name) - score) <= 1e-4) IS NOT TRUE},
		"$model: semantic_score")
		if $has->('rerank');

	no_rows(qq{
		SELECT number, entry ->> 'aggregation', left(entry ->> 'text', 60), found, expected
		FROM expected_entries($name, 'entities'),
		     LATERAL (SELECT * FROM jsonb_array_elements(entry -> 'entities') WITH ORDINALITY AS e(expected, i)
		              FULL JOIN (SELECT ordinality, to_jsonb(f) - 'ordinality' AS found
		                         FROM semantic_entities(entry ->> 'text', $name, entry ->> 'aggregation')
		                              WITH ORDINALITY AS f) AS found ON ordinality = i) AS row
		WHERE (found - 'score' = expected - 'score' AND
		       abs((found ->> 'score')::float8 - (expected ->> 'score')::float8) <= 1e-4) IS NOT TRUE},
		"$model: semantic_entities")
		if $has->('entities');

	my $spans = q{SELECT jsonb_agg(jsonb_build_array(jsonb_build_array(%s), score) ORDER BY ordinality)};
	my $answer = 'answer, char_start, char_end';
	my $expected_answer = q{value -> 'answer', value -> 'char_start', value -> 'char_end'};
	no_rows(qq{
		SELECT number, found, expected
		FROM expected_entries($name, 'answer'),
		     LATERAL (@{[sprintf($spans, $answer)]}
		              FROM semantic_answer(entry ->> 'question', entry ->> 'context', $name, (entry ->> 'top_k')::int,
		                                   (entry ->> 'max_answer_tokens')::int) WITH ORDINALITY) AS f(found),
		     LATERAL (@{[sprintf($spans =~ s/score/value -> 'score'/r, $expected_answer)]}
		              FROM jsonb_array_elements(entry -> 'answers') WITH ORDINALITY) AS e(expected)
		WHERE rankings_agree(found, expected) IS NOT TRUE},
		"$model: semantic_answer")
		if $has->('answer');
	no_rows(qq{
		SELECT number, found, expected
		FROM expected_entries($name, 'fill_mask'),
		     LATERAL (@{[sprintf($spans, 'token, content')]}
		              FROM semantic_fill_mask(entry ->> 'text', $name, (entry ->> 'top_k')::int) WITH ORDINALITY) AS f(found),
		     LATERAL (@{[sprintf($spans =~ s/score/value -> 'score'/r, q{value -> 'token', value -> 'content'})]}
		              FROM jsonb_array_elements(entry -> 'tokens') WITH ORDINALITY) AS e(expected)
		WHERE rankings_agree(found, expected) IS NOT TRUE},
		"$model: semantic_fill_mask")
		if $has->('fill_mask');
}

is( $node->safe_psql('postgres',
		q{SELECT count(*) FROM semantic_models WHERE semantic_embed('a head does not stand in the way', name) IS NULL}),
	'0', 'every checkpoint embeds, those with a head included');

if (!$has_shared)
{
	diag("SKIP: no conformance data in '$shared'");
	$node->stop;
	done_testing();
	exit;
}

# The three published vocabularies on every line of text there is.
my %vocabularies = (
	uncased => 'distilbert-real-uncased',
	cased => 'distilbert-cased',
	multilingual => 'distilbert-multilingual-cased');
foreach my $kind (sort keys %vocabularies)
{
	my $model = $vocabularies{$kind};
	my $file = quote_literal("$shared/conformance/tokenizer/$kind.jsonl");
	no_rows(qq{
		SELECT number, line ->> 'text'
		FROM (SELECT number, line::jsonb AS line
		      FROM string_to_table(pg_read_file($file), E'\\n') WITH ORDINALITY AS lines(line, number)
		      WHERE line <> '') AS lines,
		     found_tokens(line ->> 'text', '$model') AS found
		WHERE line -> 'ids' IS DISTINCT FROM found -> 'ids'
		   OR line ? 'offsets' AND line -> 'offsets' IS DISTINCT FROM found -> 'offsets'},
		"tokenizer lines, $kind");
}

# Another encoding of the database: the same tokens and numbers, offsets in characters.
my $real = quote_literal("$models/distilbert-real-uncased");
$node->safe_psql('postgres', q{CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0});
$node->safe_psql('latin1', "CREATE EXTENSION pg_semantic; SELECT semantic_load_model('real', $real)");
my $accented = q{SELECT * FROM semantic_tokenize(convert_from('\x4772c3bcc39f6520617573204dc3bc6e6368656e2c20c3a9'::bytea, 'UTF8'), '%s')};
is( $node->safe_psql('latin1', sprintf($accented, 'real')),
	$node->safe_psql('postgres', sprintf($accented, 'distilbert-real-uncased')),
	'LATIN1: tokens and offsets are those of UTF8');
my $embedding = q{SELECT semantic_embed(convert_from('\x4772c3bcc39f6520617573204dc3bc6e6368656e'::bytea, 'UTF8'), '%s')};
is( $node->safe_psql('latin1', sprintf($embedding, 'real')),
	$node->safe_psql('postgres', sprintf($embedding, 'distilbert-real-uncased')),
	'LATIN1: the embedding is that of UTF8');
is( $node->safe_psql('latin1',
		q{SELECT chunk = substr(content, char_start + 1, char_end - char_start)
		  FROM (SELECT convert_from('\x4772c3bcc39f6520617573204dc3bc6e6368656e'::bytea, 'UTF8') AS content) AS t,
		       semantic_chunk(content, 16, 0, 'real')}),
	't', 'LATIN1: a chunk is the substring its offsets name');

$node->safe_psql('postgres', q{CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0});
$node->safe_psql('ascii', "CREATE EXTENSION pg_semantic; SELECT semantic_load_model('real', $real)");
is( $node->safe_psql('ascii', q{SELECT semantic_count_tokens('plain text', 'real')}), '4', 'SQL_ASCII: plain text');
my ($status, undef, $err) = $node->psql('ascii', "\\set VERBOSITY verbose\nSELECT semantic_embed(E'broken \\xFF', 'real')");
isnt($status, 0, 'SQL_ASCII: bytes that are not UTF-8 are refused');
like($err, qr/ERROR:  22021/, 'SQL_ASCII: with 22021');

$node->stop;
done_testing();
