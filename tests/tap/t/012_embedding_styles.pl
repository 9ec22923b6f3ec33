# The checkpoints of tests/reference/embedding_styles through SQL: sparse
# embeddings, late interaction, and the layouts of published retrieval models with
# their prompts and leading dimensions, against an independent reference in double precision.
use strict;
use warnings;

use PgSemantic::TestServer;
use PostgreSQL::Test::Utils;
use Test::More;

my $reference = "$ENV{PG_SEMANTIC_REFERENCE}/embedding_styles";
my @expected = sort glob("$reference/expected/*.json");
cmp_ok(scalar @expected, '>=', 19, 'the reference is there');

$ENV{PGCLIENTENCODING} = 'UTF8';
my $node = new_server('styles', preload => 0, conf => 'jit = off');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE reference (model text PRIMARY KEY, expected jsonb);
-- An entry of `kind` a row.
CREATE FUNCTION entries(kind text) RETURNS TABLE(model text, number bigint, entry jsonb) LANGUAGE sql AS $$
    SELECT model, ordinality, value FROM reference, jsonb_array_elements(expected -> kind) WITH ORDINALITY $$;
CREATE FUNCTION real_array(list jsonb) RETURNS real[] LANGUAGE sql AS $$
    SELECT array_agg(value::real ORDER BY ordinality) FROM jsonb_array_elements_text(list) WITH ORDINALITY $$;
-- Largest difference, in units of max(1, largest absolute value of the expected vector).
CREATE FUNCTION vector_error(found real[], expected real[]) RETURNS float8 LANGUAGE sql AS $$
    SELECT CASE WHEN cardinality(found) = cardinality(expected)
           THEN max(abs(f - e)) / greatest(1, max(abs(e))) ELSE 'infinity' END
    FROM unnest(found, expected) AS elements(f, e) $$;
SQL

foreach my $file (@expected)
{
	my ($model) = $file =~ m{([^/]+)\.json$};
	my ($status, undef, $err) = $node->psql('postgres',
		"INSERT INTO reference VALUES ('$model', pg_read_file('$file')::jsonb);
		 SELECT semantic_load_model('$model', '$reference/models/$model')", on_error_stop => 1);
	is($status, 0, "$model loads") or diag($err);
}

# Rows that a query gives are differences; none means agreement.
sub no_rows
{
	my ($sql, $name) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $sql);
	is($status, 0, "$name runs") or diag($err);
	is($out, '', $name);
	return;
}

no_rows(q{
	SELECT model, key, expected -> key, to_jsonb(m) -> key
	FROM reference JOIN semantic_models AS m ON name = model, jsonb_object_keys(expected) AS key
	WHERE to_jsonb(m) ? key AND key <> 'labels' AND expected -> key IS DISTINCT FROM to_jsonb(m) -> key},
	'semantic_models');

is($node->safe_psql('postgres',
		q{SELECT kind, count(*) >= 40 FROM unnest('{embed,late_interaction,sparse_embed}'::text[]) AS kind, entries(kind)
		  GROUP BY 1 ORDER BY 1}),
	"embed|t\nlate_interaction|t\nsparse_embed|t", 'what there is to compare');
no_rows(q{
	SELECT model, number, token, weight, value
	FROM entries('sparse_embed'),
	     LATERAL (SELECT * FROM semantic_sparse_embed(entry ->> 'text', model)
	              FULL JOIN (SELECT e ->> 0 AS token, (e ->> 1)::float8 AS value
	                         FROM jsonb_array_elements(entry -> 'tokens') AS e) AS wanted USING (token)) AS row
	WHERE abs(coalesce(weight, 0) - coalesce(value, 0)) > 1e-4 OR weight <= 0},
	'semantic_sparse_embed: tokens and weights');
no_rows(q{
	SELECT model, number, ordinality
	FROM (SELECT model, number, ordinality, weight, lag(weight) OVER (PARTITION BY model, number ORDER BY ordinality) AS before
	      FROM entries('sparse_embed'), semantic_sparse_embed(entry ->> 'text', model) WITH ORDINALITY) AS rows
	WHERE weight > before},
	'semantic_sparse_embed: greatest weight first');
no_rows(q{
	SELECT model, number, entry ->> 'query', entry ->> 'score', score
	FROM entries('late_interaction'),
	     LATERAL (SELECT semantic_late_interaction(entry ->> 'query', entry ->> 'document', model) OFFSET 0) AS row(score)
	WHERE (abs(score - (entry ->> 'score')::float8) <= 1e-4) IS NOT TRUE},
	'semantic_late_interaction');
no_rows(q{
	SELECT model, number, entry ->> 'prompt'
	FROM entries('embed')
	WHERE (vector_error(semantic_embed(entry ->> 'text', model, entry ->> 'prompt'), real_array(entry -> 'embedding')) <= 2e-5) IS NOT TRUE},
	'semantic_embed, with prompts');
no_rows(q{
	SELECT model, number, kept
	FROM entries('embed'), unnest('{1,7,36}'::int[]) AS kept,
	     semantic_embed_batch(ARRAY[entry ->> 'text', NULL], model, entry ->> 'prompt', kept)
	WHERE CASE ordinal
	      WHEN 1 THEN (vector_error(embedding, (real_array(entry -> 'embedding'))[:kept]) <= 2e-5) IS NOT TRUE
	      ELSE embedding IS NOT NULL END},
	'semantic_embed_batch: the leading dimensions');

# Models for dot products: the order is the reference's order by inner product.
no_rows(q{
	WITH texts AS (SELECT model, number, entry ->> 'text' AS content, real_array(entry -> 'embedding') AS embedding
	               FROM entries('embed') WHERE model = 'multi-qa-distilbert-dot-v1')
	SELECT a.content, b.content
	FROM texts AS a, texts AS b
	WHERE (abs((semantic_embed(a.content, model) <#> semantic_embed(b.content, model)) - (a.embedding <#> b.embedding)) <= 1e-3) IS NOT TRUE}
	=~ s/semantic_embed\((\w)\.content, model\)/semantic_embed($1.content, $1.model)/gr,
	'inner products of a model for dot products');

# What other functions make of these models.
is($node->safe_psql('postgres', q{SELECT task, pooling, normalized FROM semantic_models WHERE name = 'colbert-v2'}),
	'embedding|mean|f', 'a model for late interaction is a bare encoder to semantic_models');
no_rows(q{
	SELECT i FROM generate_subscripts(semantic_embed('a quick car', 'colbert-v2'), 1) AS i,
	     LATERAL (SELECT avg(embedding[i]) AS mean FROM semantic_token_embeddings('a quick car', 'colbert-v2')) AS tokens
	WHERE abs((semantic_embed('a quick car', 'colbert-v2'))[i] - mean) > 1e-5},
	'… and semantic_embed pools it as one');
my ($status, $out, $err) = $node->psql('postgres',
	"\\set VERBOSITY verbose\nSELECT * FROM semantic_sparse_embed('text', 'pylate')");
like($err, qr/ERROR:  0A000: model "pylate" has no head for fill-mask/, 'no sparse embedding without a masked-LM head');

# Interruption: the call ends soon after the statement's time is up.
my $long = q{SET statement_timeout = '50ms'; SELECT count(*) FROM generate_series(1, 100000) AS i,
             semantic_sparse_embed(repeat('the doctor ', 300) || i, 'splade-distilbert')};
(undef, undef, $err) = $node->psql('postgres', $long);
like($err, qr/canceling statement due to statement timeout/, 'semantic_sparse_embed can be cancelled');
$long = q{SET statement_timeout = '50ms'; SELECT count(semantic_late_interaction('the doctor', repeat('heart disease ', 300) || i, 'plain-encoder'))
          FROM generate_series(1, 1000000) AS i};
(undef, undef, $err) = $node->psql('postgres', $long);
like($err, qr/canceling statement due to statement timeout/, 'semantic_late_interaction can be cancelled');

# A dump carries them as any other model.
my $dump = $node->data_dir . '/../dump.sql';
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'dump');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], 'restore');
my $scores = q{SELECT semantic_late_interaction('who is it', 'the doctor!', 'pylate'),
                      (SELECT sum(weight) FROM semantic_sparse_embed('the doctor', 'sparse-encoder-sum'))};
is($node->safe_psql('restored', $scores), $node->safe_psql('postgres', $scores), 'the same after a restore');

$node->stop;
done_testing();
