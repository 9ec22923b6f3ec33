-- Text indexes with the shipped model.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_semantic;
RESET client_min_messages;

CREATE TABLE docs (id integer PRIMARY KEY, body text, short varchar(200));
INSERT INTO docs VALUES
    (1, 'How to reset a forgotten password', 'reset password'),
    (2, 'Chocolate cake recipe with butter and eggs', 'cake'),
    (3, 'Transfer money to another bank account', 'bank transfer'),
    (4, 'The moon orbits the earth in about a month', 'moon'),
    (5, 'List the files in a directory', 'list files'),
    (6, NULL, NULL);
CREATE INDEX docs_semantic ON docs USING semantic (body);
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM docs ORDER BY body <=> 'I lost my login' LIMIT 1;
SELECT id FROM docs ORDER BY body <=> 'change my password' LIMIT 1;
SELECT id FROM docs ORDER BY body <=> 'baking a dessert' LIMIT 1;
SELECT id FROM docs ORDER BY body <=> 'show directory contents' LIMIT 1;
SELECT count(*), (array_agg(id))[6] AS last FROM (SELECT id FROM docs ORDER BY body <=> 'astronomy') q;
SELECT count(*) FROM (SELECT id FROM docs ORDER BY body <=> NULL) q;

-- The distance of the index is the distance of the embeddings.
SELECT count(*) FROM docs
WHERE abs((body <=> 'astronomy') - (semantic_embed(body) <=> semantic_embed('astronomy'))) > 1e-5;
SELECT count(*) FROM (SELECT body, body <=> 'astronomy' AS d FROM docs ORDER BY body <=> 'astronomy') q
WHERE abs(d - (semantic_embed(body) <=> semantic_embed('astronomy'))) > 1e-5;

-- Any driver's parameter type.
PREPARE by_text(text) AS SELECT id FROM docs ORDER BY body <=> $1 LIMIT 1;
PREPARE by_varchar(varchar) AS SELECT id FROM docs ORDER BY body <=> $1 LIMIT 1;
PREPARE by_unknown AS SELECT id FROM docs ORDER BY body <=> $1 LIMIT 1;
EXECUTE by_text('bank payment');
EXECUTE by_varchar('bank payment');
EXECUTE by_unknown('bank payment');
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE by_varchar('bank payment');
EXECUTE by_varchar('bank payment');
RESET plan_cache_mode;
SELECT id FROM docs ORDER BY body <=> semantic_query('bank payment') LIMIT 1;
SELECT id FROM docs ORDER BY body <=> semantic_query(semantic_embed('bank payment')) LIMIT 1;
DO $$
DECLARE
    question text := 'bank payment';
    found integer;
BEGIN
    SELECT id INTO found FROM docs ORDER BY body <=> question LIMIT 1;
    RAISE NOTICE 'found %', found;
END $$;

-- varchar and expressions.
CREATE INDEX docs_short_semantic ON docs USING semantic (short);
EXPLAIN (COSTS OFF) SELECT id FROM docs ORDER BY short <=> 'moon' LIMIT 1;
SELECT id FROM docs ORDER BY short <=> 'moon' LIMIT 1;
CREATE INDEX docs_expression_semantic ON docs USING semantic ((short || ': ' || body));
EXPLAIN (COSTS OFF) SELECT id FROM docs ORDER BY (short || ': ' || body) <=> 'moon' LIMIT 1;
SELECT id FROM docs ORDER BY (short || ': ' || body) <=> 'moon' LIMIT 1;

-- semantic_search.
SELECT s.ctid = d.ctid AS same_row, s.content = d.body AS same_text, abs(s.score - (1 - s.distance)) < 1e-6 AS score
FROM semantic_search('docs_semantic', 'change my password', 1) s, docs d WHERE d.id = 1;
SELECT count(*), count(content) FROM semantic_search('docs_semantic', 'anything', 100);
SELECT content FROM semantic_search('docs_expression_semantic', 'moon', 1);
SELECT * FROM semantic_search('docs_semantic', 'x', 0);
SELECT * FROM semantic_search('docs_semantic', 'x', 5, 'some-reranker');
SELECT * FROM semantic_search('docs_pkey', 'x');
SELECT * FROM semantic_search('docs_semantic', NULL);

-- As the caller may see them.
CREATE ROLE semantic_reader;
SET ROLE semantic_reader;
SELECT * FROM semantic_search('docs_semantic', 'x');
SELECT * FROM semantic_index_check('docs_semantic');
SELECT semantic_index_recall('docs_semantic');
RESET ROLE;
GRANT SELECT ON docs TO semantic_reader;
ALTER TABLE docs ENABLE ROW LEVEL SECURITY;
CREATE POLICY odd ON docs TO semantic_reader USING (id % 2 = 1);
SET ROLE semantic_reader;
SELECT count(*) FROM semantic_search('docs_semantic', 'x', 100);
SELECT array_agg(id ORDER BY id) FROM (SELECT id FROM docs ORDER BY body <=> 'x') q;
RESET ROLE;
DROP POLICY odd ON docs;
ALTER TABLE docs DISABLE ROW LEVEL SECURITY;

-- Updates of other columns keep the row findable; updates of the text move it.
UPDATE docs SET short = 'satellite' WHERE id = 4;
UPDATE docs SET body = 'Grow tomatoes in your garden' WHERE id = 2;
SELECT id FROM docs ORDER BY body <=> 'growing vegetables' LIMIT 1;
SELECT id FROM docs ORDER BY body <=> 'astronomy and the moon' LIMIT 1;
INSERT INTO docs SELECT 100 + i, 'line number ' || i || ' of the file', 'n' || i FROM generate_series(1, 300) i;
COPY docs (id, body) FROM stdin;
1001	Paint a picture with watercolours
1002	Fix a flat bicycle tyre
1003	\N
\.
SELECT id FROM docs ORDER BY body <=> 'bicycle tyre' LIMIT 1;
SELECT count(*) FROM (SELECT id FROM docs ORDER BY body <=> 'anything at all') q;
VACUUM docs;
SELECT * FROM semantic_index_check('docs_semantic');
SELECT * FROM semantic_index_check('docs_short_semantic');
SELECT * FROM semantic_index_check('docs_expression_semantic');
SELECT index, table_name, model, dimensions, metric, codec, state FROM semantic_indexes ORDER BY index::text;

-- A model in use stays.
SELECT semantic_drop_model('default');
CREATE INDEX ON docs USING semantic (body) WITH (model = 'nonsense');

DROP TABLE docs;
DROP ROLE semantic_reader;
