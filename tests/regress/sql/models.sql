-- The model that is shipped, loading and dropping, privileges, and what the
-- extension's objects promise about themselves.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_semantic;
RESET client_min_messages;

SELECT name, task, dimensions, max_tokens, vocabulary_size, layers, pooling, normalized, model_precision, labels
FROM semantic_models;
SELECT bytes > parameters * 2 AS holds_the_weights, length(fingerprint), fingerprint ~ '^[0-9a-f]{64}$' AS hexadecimal
FROM semantic_models;
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = 'semantic_models'::regclass AND attnum > 0 ORDER BY attnum;

-- The directory that the extension ships, under a second name.
SELECT setting || '/extension/pg_semantic/default' AS shipped FROM pg_config WHERE name = 'SHAREDIR' \gset
SELECT semantic_load_model('second', :'shipped');
SELECT count(*), count(DISTINCT fingerprint) FROM semantic_models;
SELECT semantic_embed('the same model', 'second') = semantic_embed('the same model') AS same;
SET semantic.model = 'second';
SELECT semantic_embed('the same model') = semantic_embed('the same model', 'default') AS same;
RESET semantic.model;
SELECT semantic_load_model('second', :'shipped');
\echo :LAST_ERROR_SQLSTATE

-- Loading and dropping follow the transaction.
BEGIN;
SELECT semantic_drop_model('second');
SAVEPOINT dropped;
SELECT semantic_embed('x', 'second');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO dropped;
SELECT semantic_load_model('third', path => :'shipped', model_precision => 'fp32');
SELECT semantic_embed('x', 'third') = semantic_embed('x') AS same;
ROLLBACK;
SELECT name FROM semantic_models ORDER BY name;

-- Anyone may use and list models; loading and dropping take a right.
CREATE ROLE regress_semantic_user;
CREATE ROLE regress_semantic_loader IN ROLE pg_read_server_files;
SET ROLE regress_semantic_user;
SELECT count(*) FROM semantic_models;
SELECT cardinality(semantic_embed('x', 'second'));
SELECT semantic_load_model('mine', :'shipped');
\echo :LAST_ERROR_SQLSTATE
SELECT semantic_drop_model('second');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM semantic_model_parts;
SELECT count(*) FROM semantic_model_catalog;
SET ROLE regress_semantic_loader;
SELECT semantic_load_model('mine', :'shipped');
SELECT semantic_drop_model('mine');
RESET ROLE;
SELECT semantic_drop_model('second');
DROP ROLE regress_semantic_user, regress_semantic_loader;
SELECT semantic_drop_model('default');
\echo :LAST_ERROR_SQLSTATE
SELECT name FROM semantic_models;
SELECT count(*) FROM semantic_model_parts WHERE NOT shipped;

-- Every object of the extension says what it is.
SELECT pg_describe_object(classid, objid, 0) AS object_without_comment
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_semantic')
  AND classid <> 'pg_opfamily'::regclass
  AND obj_description(objid, classid::regclass::name) IS NULL
ORDER BY 1;

-- What the planner is told of the functions that embed.
SELECT proname, provolatile, proparallel, proisstrict, procost >= 1000 AS dear
FROM pg_proc
WHERE proname IN ('semantic_embed', 'semantic_embed_batch', 'semantic_token_embeddings', 'semantic_tokenize',
                  'semantic_count_tokens', 'semantic_chunk', 'semantic_similarity', 'semantic_text_distance',
                  'semantic_query_in', 'semantic_query_from_text', 'semantic_load_model', 'semantic_drop_model')
ORDER BY proname COLLATE "C";
SELECT extrelocatable FROM pg_extension WHERE extname = 'pg_semantic';
