-- The access method: scans agree with a sort, rows follow the transaction.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_semantic;
RESET client_min_messages;

-- Runs a query that returns one column of integers twice: through the index and
-- through a sort.  True when both give the same rows in the same order and the
-- first plan did use a semantic index.
CREATE FUNCTION agrees_with_sort(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    by_index integer[];
    by_sort integer[];
    line text;
    used boolean := false;
BEGIN
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_sort = off;
    SET LOCAL enable_bitmapscan = off;
    SET LOCAL semantic.enable_filter_scan = off;
    FOR line IN EXECUTE 'EXPLAIN ' || query LOOP
        used := used OR line ~ 'Index Scan using .*semantic';
    END LOOP;
    EXECUTE 'SELECT array_agg(x) FROM (' || query || ') AS q(x)' INTO by_index;
    SET LOCAL enable_seqscan = on;
    SET LOCAL enable_sort = on;
    SET LOCAL enable_indexscan = off;
    EXECUTE 'SELECT array_agg(x) FROM (' || query || ') AS q(x)' INTO by_sort;
    RESET enable_seqscan;
    RESET enable_sort;
    RESET enable_bitmapscan;
    RESET semantic.enable_filter_scan;
    RESET enable_indexscan;
    RETURN CASE WHEN NOT used THEN 'index not used'
                WHEN by_index IS NOT DISTINCT FROM by_sort THEN format('same %s rows', coalesce(cardinality(by_index), 0))
                ELSE format('differ: %s against %s', by_index, by_sort) END;
END $$;

-- A reproducible vector with no ties: the i-th of dimension d.
CREATE FUNCTION test_vector(i integer, d integer) RETURNS real[] LANGUAGE sql IMMUTABLE AS
$$ SELECT array_agg((sin(i * 12.9898 + j * 78.233) * cos(i * 0.37 * j))::real ORDER BY j) FROM generate_series(1, d) j $$;

-- An index from an empty table on.
CREATE TABLE vectors (id integer PRIMARY KEY, category integer, embedding real[]);
CREATE INDEX vectors_semantic ON vectors USING semantic (embedding real_cosine_ops);
SELECT agrees_with_sort('SELECT id FROM vectors ORDER BY embedding <=> test_vector(1, 24) LIMIT 5');
INSERT INTO vectors SELECT i, i % 10, test_vector(i, 24) FROM generate_series(1, 1500) i;
SELECT agrees_with_sort('SELECT id FROM vectors ORDER BY embedding <=> test_vector(77, 24) LIMIT 10');
SELECT agrees_with_sort('SELECT id FROM vectors ORDER BY embedding <=> test_vector(4000, 24) LIMIT 10');
-- As many rows as there are, and with any WHERE as many as asked for.
SELECT agrees_with_sort('SELECT id FROM vectors ORDER BY embedding <=> test_vector(4000, 24)');
SELECT agrees_with_sort('SELECT id FROM vectors WHERE category = 3 ORDER BY embedding <=> test_vector(5, 24) LIMIT 50');
SELECT agrees_with_sort('SELECT id FROM vectors WHERE category = 3 AND id > 1400 ORDER BY embedding <=> test_vector(5, 24) LIMIT 50');
SELECT agrees_with_sort('SELECT id FROM vectors WHERE id = 700 ORDER BY embedding <=> test_vector(5, 24) LIMIT 3');
SELECT * FROM semantic_index_check('vectors_semantic');

-- Zero vectors (distance NaN) and NULLs come last, as in a sort.
INSERT INTO vectors VALUES (2001, 0, NULL), (2002, 0, array_fill(0::real, ARRAY[24]));
SELECT id, embedding <=> test_vector(5, 24) AS distance FROM vectors WHERE id IN (2001, 2002) ORDER BY 2;
SELECT agrees_with_sort('SELECT id FROM vectors ORDER BY embedding <=> test_vector(4000, 24)');
SELECT count(*) FROM (SELECT id FROM vectors ORDER BY embedding <=> NULL::real[]) q;

-- L2 and inner product.
CREATE TABLE metrics (id integer, embedding real[]);
INSERT INTO metrics SELECT i, test_vector(i, 8) FROM generate_series(1, 600) i;
CREATE INDEX metrics_l2_semantic ON metrics USING semantic (embedding real_l2_ops);
SELECT agrees_with_sort('SELECT id FROM metrics ORDER BY embedding <-> test_vector(3000, 8) LIMIT 20');
DROP INDEX metrics_l2_semantic;
-- Of large vectors the distance may be less than what rounding makes of them.
CREATE TABLE far (id integer, embedding real[]);
INSERT INTO far SELECT i, ARRAY[1e9 + 1e6 * i, 0]::real[] FROM generate_series(1, 50) i;
INSERT INTO far VALUES (100, '{1e20,0}');
CREATE INDEX far_l2_semantic ON far USING semantic (embedding real_l2_ops);
SELECT count(*) FROM far f, LATERAL (SELECT id FROM far ORDER BY embedding <-> f.embedding LIMIT 1) n WHERE n.id = f.id;
DROP TABLE far;
CREATE INDEX metrics_ip_semantic ON metrics USING semantic (embedding real_ip_ops) WITH (codec = 'f32');
SELECT agrees_with_sort('SELECT id FROM metrics ORDER BY embedding <#> test_vector(3000, 8) LIMIT 20');
SELECT agrees_with_sort('SELECT id FROM metrics ORDER BY embedding <#> test_vector(3000, 8)');

-- UPDATE, DELETE, VACUUM.
UPDATE vectors SET embedding = test_vector(id + 5000, 24) WHERE id % 3 = 0;
DELETE FROM vectors WHERE id % 5 = 0;
SELECT agrees_with_sort('SELECT id FROM vectors ORDER BY embedding <=> test_vector(5300, 24) LIMIT 30');
VACUUM vectors;
SELECT vectors FROM semantic_indexes WHERE index = 'vectors_semantic'::regclass;
SELECT count(*) FROM vectors WHERE embedding <> array_fill(0::real, ARRAY[24]);
INSERT INTO vectors SELECT i, 1, test_vector(i, 24) FROM generate_series(3000, 3300) i;
SELECT agrees_with_sort('SELECT id FROM vectors ORDER BY embedding <=> test_vector(3100, 24) LIMIT 30');
SELECT * FROM semantic_index_check('vectors_semantic');

-- Rows follow the transaction: its own rows are there before it commits, rolled-back ones are not.
BEGIN;
INSERT INTO vectors VALUES (9001, 0, test_vector(9001, 24));
SELECT id FROM vectors ORDER BY embedding <=> test_vector(9001, 24) LIMIT 1;
SAVEPOINT s;
INSERT INTO vectors VALUES (9002, 0, test_vector(9002, 24));
SELECT id FROM vectors ORDER BY embedding <=> test_vector(9002, 24) LIMIT 1;
ROLLBACK TO s;
SELECT id = 9002 FROM vectors ORDER BY embedding <=> test_vector(9002, 24) LIMIT 1;
SAVEPOINT t;
INSERT INTO vectors VALUES (9003, 0, test_vector(9003, 24));
ROLLBACK TO t;
INSERT INTO vectors VALUES (9004, 0, test_vector(9004, 24));
RELEASE t;
COMMIT;
SELECT id FROM vectors WHERE id > 9000 ORDER BY embedding <=> test_vector(9004, 24);
BEGIN;
DELETE FROM vectors WHERE id = 9001;
SELECT id = 9001 FROM vectors ORDER BY embedding <=> test_vector(9001, 24) LIMIT 1;
ROLLBACK;
SELECT id FROM vectors ORDER BY embedding <=> test_vector(9001, 24) LIMIT 1;
-- An error caught inside must not lose what the outer transaction owes.
DO $$
BEGIN
    INSERT INTO vectors VALUES (9101, 0, test_vector(9101, 24));
    BEGIN
        INSERT INTO vectors VALUES (9102, 0, test_vector(9102, 24));
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    INSERT INTO vectors VALUES (9103, 0, test_vector(9103, 24));
END $$;
SELECT id FROM vectors WHERE id > 9100 ORDER BY embedding <=> test_vector(9101, 24);
SELECT * FROM semantic_index_check('vectors_semantic');

-- Bad vectors.
INSERT INTO vectors VALUES (1, 0, ARRAY[1, 2, 3]::real[]);
INSERT INTO vectors VALUES (9999, 0, ARRAY[1, 2, 3]::real[]);
INSERT INTO vectors VALUES (9999, 0, array_fill('NaN'::real, ARRAY[24]));
INSERT INTO vectors VALUES (9999, 0, array_append(test_vector(1, 23), NULL));
INSERT INTO vectors VALUES (9999, 0, array_fill(1::real, ARRAY[2, 12]));
SELECT id FROM vectors ORDER BY embedding <=> ARRAY[1, 2]::real[] LIMIT 1;
SELECT count(*) FROM vectors WHERE id = 9999;

-- A query may be a parameter, a subquery, a join or a PL/pgSQL variable.
PREPARE nearest(real[]) AS SELECT id FROM vectors ORDER BY embedding <=> $1 LIMIT 1;
EXECUTE nearest(test_vector(9004, 24));
SET plan_cache_mode = force_generic_plan;
EXECUTE nearest(test_vector(9101, 24));
RESET plan_cache_mode;
SELECT id FROM vectors ORDER BY embedding <=> (SELECT embedding FROM vectors WHERE id = 9103) LIMIT 1;
SELECT q.i, n.id FROM (VALUES (9001), (9004)) q(i),
LATERAL (SELECT id FROM vectors ORDER BY embedding <=> test_vector(q.i, 24) LIMIT 1) n ORDER BY 1;
DO $$
DECLARE
    v real[] := test_vector(9004, 24);
    found integer;
BEGIN
    SELECT id INTO found FROM vectors ORDER BY embedding <=> v LIMIT 1;
    RAISE NOTICE 'nearest %', found;
END $$;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM vectors ORDER BY embedding <=> test_vector(9004, 24);
FETCH 1 FROM c;
MOVE 500 IN c;
COMMIT;

-- Options.
CREATE INDEX ON metrics USING semantic (embedding) WITH (codec = 'bit');
CREATE INDEX ON metrics USING semantic (embedding) WITH (chunk_tokens = 64);
CREATE INDEX ON metrics USING semantic (embedding) WITH (embed = 'deferred');
CREATE INDEX ON metrics USING semantic (embedding) WITH (codec = 'nonsense');
CREATE INDEX ON metrics USING semantic (embedding) WITH (lists = 100);
CREATE INDEX ON metrics USING semantic (embedding) WITH (model = 'default');
CREATE INDEX ON metrics USING semantic (embedding, id);
CREATE UNIQUE INDEX ON metrics USING semantic (embedding);
CREATE INDEX ON metrics USING semantic (id);
CREATE INDEX metrics_f16_semantic ON metrics USING semantic (embedding) WITH (codec = 'f16');
SELECT agrees_with_sort('SELECT id FROM metrics ORDER BY embedding <=> test_vector(3000, 8) LIMIT 20');
SELECT index, table_name, model, dimensions, metric, codec, vectors, pending, bytes > 0 AS has_bytes, state
FROM semantic_indexes ORDER BY index::text;
SELECT semantic_index_recall('metrics_f16_semantic') >= 0.99 AS recall;
SELECT semantic_index_recall('metrics_f16_semantic', 0);
SELECT semantic_index_recall('vectors_pkey');
SELECT * FROM semantic_index_check('metrics');

SELECT amvalidate(oid) FROM pg_opclass WHERE opcmethod = (SELECT oid FROM pg_am WHERE amname = 'semantic');

DROP TABLE vectors, metrics;
DROP FUNCTION agrees_with_sort(text);
DROP FUNCTION test_vector(integer, integer);
