-- One model in three precisions: what the view says, how near the embeddings are,
-- that each can serve an index, and what a wrong precision is.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_semantic;
RESET client_min_messages;
SELECT setting || '/extension/pg_semantic/default' AS shipped FROM pg_config WHERE name = 'SHAREDIR' \gset

SELECT semantic_load_model('half', :'shipped', 'fp16');
SELECT semantic_load_model('bytes', :'shipped', model_precision => 'int8');
SELECT name, model_precision, layers, dimensions FROM semantic_models ORDER BY bytes DESC;
-- Another precision is another model: what one indexed, the other must not search.
SELECT count(DISTINCT fingerprint), count(DISTINCT bytes), count(DISTINCT parameters) FROM semantic_models;

CREATE TABLE precision_docs (id integer PRIMARY KEY, body text);
INSERT INTO precision_docs VALUES
    (1, 'How to reset a forgotten password'),
    (2, 'Chocolate cake recipe with butter and eggs'),
    (3, 'Transfer money to another bank account'),
    (4, 'The moon orbits the earth in about a month'),
    (5, 'List the files in a directory'),
    (6, repeat('A long text about nothing in particular. ', 60));
SELECT model, count(*) FILTER (WHERE semantic_embed(body) <=> semantic_embed(body, model) < allowed) AS near,
       count(*) FILTER (WHERE semantic_embed(body) <> semantic_embed(body, model)) AS but_not_the_same
FROM precision_docs, (VALUES ('half', 0.0001), ('bytes', 0.005)) AS precision_model(model, allowed)
GROUP BY model ORDER BY model;
-- A batch gives what its texts give one by one.
SELECT bool_and(embedding <=> semantic_embed(body, 'bytes') < 1e-6) AS same
FROM semantic_embed_batch(ARRAY(SELECT body FROM precision_docs ORDER BY id), 'bytes')
     JOIN precision_docs ON id = ordinal;

CREATE INDEX precision_bytes ON precision_docs USING semantic (body) WITH (model = 'bytes');
SELECT model, vectors FROM semantic_indexes WHERE index = 'precision_bytes'::regclass;
INSERT INTO precision_docs VALUES (7, 'Grow tomatoes in a small garden');
SET enable_seqscan = off;
SET semantic.model = 'bytes';
EXPLAIN (COSTS OFF) SELECT id FROM precision_docs ORDER BY body <=> 'change my password' LIMIT 1;
SELECT id FROM precision_docs ORDER BY body <=> 'change my password' LIMIT 1;
SELECT id FROM precision_docs ORDER BY body <=> 'show directory contents' LIMIT 1;
SELECT id FROM precision_docs ORDER BY body <=> 'gardening' LIMIT 1;
SELECT count(*) FROM semantic_index_check('precision_bytes');
SELECT semantic_drop_model('bytes');
\echo :LAST_ERROR_SQLSTATE
RESET semantic.model;
RESET enable_seqscan;
DROP TABLE precision_docs;
SELECT semantic_drop_model('bytes');
SELECT semantic_drop_model('half');

-- There are three precisions.
\set VERBOSITY default
SELECT semantic_load_model('x', :'shipped', 'fp7');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
SELECT semantic_load_model('x', :'shipped', 'INT8');
\echo :LAST_ERROR_SQLSTATE
SELECT semantic_load_model('x', :'shipped', '');
\echo :LAST_ERROR_SQLSTATE
SELECT semantic_load_model('x', '/no/such/directory', 'int8');
\echo :LAST_ERROR_SQLSTATE
SELECT name FROM semantic_models;
