-- Bad input: the message, and the SQLSTATE after it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_semantic;
RESET client_min_messages;
SELECT setting || '/extension/pg_semantic/default' AS shipped FROM pg_config WHERE name = 'SHAREDIR' \gset

-- Models.
SELECT semantic_embed('x', 'no such model');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM semantic_embed_batch(ARRAY['x'], 'no such model');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM semantic_embed_batch(ARRAY['x'], dimensions => 0);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM semantic_embed_batch(ARRAY['x'], dimensions => 257);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM semantic_embed_batch(ARRAY[]::text[], dimensions => -1);
\echo :LAST_ERROR_SQLSTATE
SELECT semantic_query('x', 'no such model');
\echo :LAST_ERROR_SQLSTATE
SET semantic.model = 'no such model';
SELECT 'x'::semantic_query;
\echo :LAST_ERROR_SQLSTATE
SELECT semantic_count_tokens('x');
\echo :LAST_ERROR_SQLSTATE
RESET semantic.model;
SELECT semantic_drop_model('no such model');
\echo :LAST_ERROR_SQLSTATE
SELECT semantic_drop_model(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT semantic_load_model(NULL, '/');
\echo :LAST_ERROR_SQLSTATE
SELECT semantic_load_model('x', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT semantic_load_model('x', '/', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT semantic_load_model('', '/');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
SELECT semantic_load_model('x', :'shipped', 'fp7');
\echo :LAST_ERROR_SQLSTATE
SELECT semantic_load_model('x', '/no/such/directory');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default
BEGIN READ ONLY;
SELECT semantic_load_model('x', :'shipped');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT semantic_drop_model('x');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- Chunks.
SELECT * FROM semantic_chunk('x', NULL);
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
SELECT * FROM semantic_chunk('x', 2, 0);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM semantic_chunk('x', 16, 14);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM semantic_chunk('x', 16, -1);
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default

-- Vectors.
SELECT '{1,2,3}'::real[] <=> '{1,2,3,4}';
\echo :LAST_ERROR_SQLSTATE
SELECT '{1,2,3}'::real[] <-> '{1,2,3,4}';
\echo :LAST_ERROR_SQLSTATE
SELECT '{1,2,3}'::real[] <#> '{1,2,3,4}';
\echo :LAST_ERROR_SQLSTATE
SELECT '{}'::real[] <-> '{}';
\echo :LAST_ERROR_SQLSTATE
SELECT '{{1,2},{3,4}}'::real[] <-> '{1,2,3,4}';
\echo :LAST_ERROR_SQLSTATE
SELECT '{1,NULL}'::real[] <-> '{1,2}';
\echo :LAST_ERROR_SQLSTATE
SELECT '{1,NaN}'::real[] <-> '{1,2}';
\echo :LAST_ERROR_SQLSTATE
SELECT '{1,2}'::real[] <=> '{-Infinity,2}';
\echo :LAST_ERROR_SQLSTATE
-- The left one is looked at first, and each before their lengths.
SELECT '{1,Infinity}'::real[] <=> '{NaN,0}';
SELECT '{1,2,NaN}'::real[] <-> '{1,NULL}';
SELECT '{1,2,NaN}'::real[] <#> '{1,2}';
SELECT '{1,2,3}'::real[] <=> '{1,-Infinity}';
SELECT '{0,0}'::real[] <=> '{0,NaN}';
-- Every operator names every such element: alone, beside zeros, on either side, and where both have it.
CREATE FUNCTION pg_temp.complaint(operator text, a real[], b real[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    distance float8;
    detail text;
BEGIN
    EXECUTE format('SELECT $1 %s $2', operator) INTO distance USING a, b;
    RETURN distance::text;
EXCEPTION WHEN data_exception THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN SQLERRM || ' ' || detail;
END $$;
CREATE TEMP TABLE complaints AS
SELECT operator, width, place, wrong, complaint
FROM unnest(array['<=>', '<->', '<#>']) AS operator, unnest(array[1, 2, 15, 16, 17, 33, 70]) AS width,
     generate_series(1, width) AS place, unnest(array['NaN', 'Infinity', '-Infinity']::real[]) AS wrong,
     LATERAL (SELECT array_fill(0.5::real, array[place - 1]) || wrong || array_fill(-2::real, array[width - place]) AS bad,
                     array_fill(1::real, array[width]) AS good, array_fill(0::real, array[width]) AS zero) AS vectors,
     LATERAL (VALUES (pg_temp.complaint(operator, bad, good)), (pg_temp.complaint(operator, good, bad)),
                     (pg_temp.complaint(operator, bad, zero)), (pg_temp.complaint(operator, zero, bad)),
                     (pg_temp.complaint(operator, bad, bad))) AS complaints (complaint);
SELECT count(*), bool_and(complaint = CASE wrong WHEN 'NaN' THEN 'NaN' ELSE 'infinite value' END ||
                          format(' not allowed in vector Element %s of the array.', place)) AS right
FROM complaints;
SELECT array_fill(1::real, ARRAY[16001]) <-> array_fill(1::real, ARRAY[16001]);
\echo :LAST_ERROR_SQLSTATE
SELECT semantic_query('{1,2,3}'::real[]);
\echo :LAST_ERROR_SQLSTATE
SELECT semantic_query('{1,NULL}'::real[]);
\echo :LAST_ERROR_SQLSTATE

-- Settings.
SET semantic.threads = -1;
SET semantic.threads = 257;
SET semantic.recall = 0;
SET semantic.recall = 1.5;
SET semantic.max_candidates = -1;
SET semantic.no_such_setting = 1;
