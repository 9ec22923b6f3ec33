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
