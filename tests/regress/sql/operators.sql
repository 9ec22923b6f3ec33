-- Distances, and the type semantic_query.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_semantic;
RESET client_min_messages;

-- Vectors.
SELECT '{3,4}'::real[] <=> '{6,8}'::real[] AS same_direction, '{1,0}'::real[] <=> '{0,1}'::real[] AS right_angle,
       '{1,0}'::real[] <=> '{-2,0}'::real[] AS opposite;
SELECT '{1,2}'::real[] <-> '{4,6}'::real[] AS l2, '{1,2}'::real[] <#> '{3,4}'::real[] AS negative_inner_product;
SELECT ARRAY[1, 2]::real[] <-> '{4,6}' AS literal_on_the_right, '{4,6}' <-> ARRAY[1, 2]::real[] AS literal_on_the_left;
SELECT '{0,0}'::real[] <=> '{1,2}' AS zero_has_no_direction, '{0,0}'::real[] <-> '{3,4}' AS but_a_distance;
SELECT '{3e38,3e38}'::real[] <=> '{3e38,3e38}' AS large, '{1e-45}'::real[] <=> '{1e-45}' AS small,
       '{3e38}'::real[] <-> '{-3e38}' AS far;
SELECT '[5:6]={3,4}'::real[] <-> '{0,0}' AS bounds_do_not_matter;
SELECT NULL::real[] <=> '{1}' AS a, '{1}'::real[] <-> NULL AS b, NULL::real[] <#> NULL::real[] AS c;
SELECT round(('{1,2,3,4,5,6,7}'::real[] <=> '{7,6,5,4,3,2,1}')::numeric, 12) = round(1 - 84.0 / 140, 12) AS exact;
-- Against float8 arithmetic, at every width up to several registers.
CREATE TEMP TABLE widths AS
SELECT width, array_agg(sin(i * 7 + width)::real ORDER BY i) AS a, array_agg((cos(i * width) * 3)::real ORDER BY i) AS b
FROM unnest(array[100, 256, 768, 3000] || array(SELECT generate_series(1, 70))) AS width, generate_series(1, width) AS i
GROUP BY width;
SELECT count(*) AS widths, bool_and(abs((a <-> b) - l2) < 1e-12 * l2) AS l2,
       bool_and(abs((a <#> b) + product) < 1e-12 * a_norm * b_norm) AS negative_inner_product,
       bool_and(abs((a <=> b) - (1 - product / (a_norm * b_norm))) < 1e-12) AS cosine,
       bool_and((a <=> b) = (b <=> a) AND (a <-> b) = (b <-> a) AND (a <#> b) = (b <#> a)) AS symmetric,
       max(a <=> a) < 1e-15 AND max(a <-> a) = 0 AS themselves
FROM widths, LATERAL (
    SELECT sqrt(sum((x::float8 - y) ^ 2)) AS l2, sum(x::float8 * y) AS product, sqrt(sum(x::float8 ^ 2)) AS a_norm,
           sqrt(sum(y::float8 ^ 2)) AS b_norm
    FROM unnest(a, b) AS element (x, y)) AS expected;
-- A bitmap of NULLs may be left where there are none any more.
CREATE TEMP TABLE once_null (v real[]);
INSERT INTO once_null VALUES ('{3,NULL,0}');
UPDATE once_null SET v[2] = 4;
SELECT v, pg_column_size(v) > pg_column_size('{3,4,0}'::real[]) AS has_bitmap, v <-> '{0,0,0}' AS l2, '{3,4,0}' <=> v AS cosine
FROM once_null;

SELECT oprname, oprleft::regtype, oprright::regtype, oprresult::regtype, oprcom::regoperator
FROM pg_operator WHERE oprname IN ('<=>', '<->', '<#>') AND oprcode::text LIKE '%semantic%'
ORDER BY oprname COLLATE "C", oprleft::regtype::text COLLATE "C";

-- Text against a query: a literal, a parameter of any kind, a query made by hand.
SELECT round(('a text'::text <=> 'a text')::numeric, 5) AS itself;
SELECT abs(('a dog'::text <=> 'a cat') - (semantic_embed('a dog') <=> semantic_embed('a cat'))) < 1e-6 AS same_as_vectors;
CREATE TEMP TABLE questions (id int, body text, title varchar(40), code char(12));
INSERT INTO questions VALUES
    (1, 'How do I reset my password?', 'How do I reset my password?', 'password'),
    (2, 'The train to the coast was late again.', 'The train was late again.', 'train'),
    (3, NULL, NULL, NULL);
SELECT id FROM questions ORDER BY body <=> 'I forgot my password' LIMIT 1;
SELECT id FROM questions ORDER BY title <=> 'railway delays' LIMIT 1;
SELECT id FROM questions ORDER BY code <=> 'train' LIMIT 1;
SELECT id, body <=> 'x' IS NULL AS no_distance FROM questions ORDER BY id;
PREPARE by_unknown AS SELECT id FROM questions ORDER BY body <=> $1 LIMIT 1;
PREPARE by_text(text) AS SELECT id FROM questions ORDER BY body <=> $1 LIMIT 1;
PREPARE by_varchar(varchar) AS SELECT id FROM questions ORDER BY body <=> $1 LIMIT 1;
PREPARE by_query(semantic_query) AS SELECT id FROM questions ORDER BY body <=> $1 LIMIT 1;
EXECUTE by_unknown('railway');
EXECUTE by_text('railway');
EXECUTE by_varchar('railway');
EXECUTE by_query('railway');
SELECT name, parameter_types FROM pg_prepared_statements WHERE name LIKE 'by\_%' ORDER BY name COLLATE "C";
DEALLOCATE ALL;
DO $$
DECLARE
    wanted text := 'railway';
    found int;
BEGIN
    SELECT id INTO found FROM questions ORDER BY body <=> wanted LIMIT 1;
    RAISE NOTICE 'found %', found;
END $$;
SELECT id FROM questions ORDER BY body <=> (SELECT 'rail' || 'way') LIMIT 1;
SELECT id FROM questions ORDER BY body <=> semantic_query('railway', 'default', 'query: ') LIMIT 1;
SELECT id FROM questions ORDER BY body <=> semantic_query(semantic_embed('railway')) LIMIT 1;

-- Vectors that lie in a TOAST table, on either side, the same one for many rows or another for each.
CREATE TEMP TABLE wide (id int, v real[]);
ALTER TABLE wide ALTER COLUMN v SET STORAGE EXTERNAL;
INSERT INTO wide SELECT id, array_agg(sin(id * element)::real ORDER BY element) FROM generate_series(1, 12) AS id, generate_series(1, 1000) AS element GROUP BY id;
SELECT count(*) AS pairs, count(*) FILTER (WHERE (a.v <=> b.v) IS DISTINCT FROM (a.v[1:] <=> b.v[1:]) OR (a.v <-> b.v) IS DISTINCT FROM (a.v[1:] <-> b.v[1:])
    OR (a.v <#> b.v) IS DISTINCT FROM (a.v[1:] <#> b.v[1:])) AS differing, count(*) FILTER (WHERE (a.v <-> b.v) = 0) AS same
FROM wide AS a, wide AS b;
SELECT count(*) FILTER (WHERE (v <-> (SELECT v FROM wide WHERE id = 7)) = 0) AS same FROM wide;
CREATE FUNCTION regress_distance(a real[], b real[]) RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN RETURN a <-> b; END $$;
BEGIN;
SELECT regress_distance(a.v, b.v) = 0 AS same FROM wide AS a, wide AS b WHERE a.id = 1 AND b.id = 1;
UPDATE wide SET v = (SELECT v FROM wide WHERE id = 2)[1:] WHERE id = 1;
SELECT regress_distance(a.v, b.v) = 0 AS same FROM wide AS a, wide AS b WHERE a.id = 1 AND b.id = 2;
SELECT regress_distance(a.v, b.v) = 0 AS same FROM wide AS a, wide AS b WHERE a.id = 1 AND b.id = 3;
COMMIT;
DROP FUNCTION regress_distance(real[], real[]);
DROP TABLE wide;

-- The type in and out.
SELECT 'What is ''this''?'::semantic_query, semantic_query('by hand', 'default'), semantic_query('with a prompt', NULL, 'query: ');
SELECT semantic_query(NULL::text) IS NULL AS null_text, semantic_query(NULL::real[]) IS NULL AS null_vector;
SELECT left(semantic_query(semantic_embed('x'))::text, 1) AS ready_vector;
CREATE TEMP TABLE kept (query semantic_query);
INSERT INTO kept VALUES ('kept in a table'), (NULL), (repeat('long ', 1000)::semantic_query);
SELECT left(query::text, 15), round(('kept in a table'::text <=> query)::numeric, 5) = 0 AS itself FROM kept;
SELECT ''::semantic_query IS NOT NULL AS empty_text;
CREATE DOMAIN regress_short_text AS text CHECK (length(VALUE) < 100);
SELECT round(('domain'::regress_short_text <=> 'domain')::numeric, 5) AS domain;
DROP DOMAIN regress_short_text;

-- The implicit casts leave text's own operators and functions alone.
SELECT 'a' || 'b' AS concatenation, 'a'::text = 'a' AS equal, 'a'::varchar < 'b'::text AS less, 'abc' LIKE 'a%' AS pattern,
       coalesce('a'::varchar, 'b') AS coalesced, length('abc'::varchar) AS length, greatest('a'::text, 'b'::varchar) AS greatest;
SELECT CASE WHEN true THEN 'a'::text ELSE 'b'::varchar END AS either, ARRAY['a'::text, 'b'::varchar] AS elements;
