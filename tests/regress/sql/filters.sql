-- WHERE beside ORDER BY distance: whichever plan is chosen, the rows are those of a sort.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_semantic;
RESET client_min_messages;

-- The plan's way to the rows where sorting them is no choice, and whether they are those that a sort returns.
CREATE FUNCTION filtered(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    rows_of_plan integer[];
    rows_of_sort integer[];
    line text;
    way text := 'sort';
BEGIN
    SET LOCAL enable_sort = off;
    FOR line IN EXECUTE 'EXPLAIN ' || query LOOP
        IF line ~ 'Semantic Filter Scan' THEN way := 'filter scan';
        ELSIF line ~ 'Index Scan using .*semantic' THEN way := 'index scan';
        END IF;
    END LOOP;
    EXECUTE 'SELECT array_agg(x) FROM (' || query || ') AS q(x)' INTO rows_of_plan;
    RESET enable_sort;
    SET LOCAL enable_indexscan = off;
    EXECUTE 'SELECT array_agg(x) FROM (' || query || ') AS q(x)' INTO rows_of_sort;
    RESET enable_indexscan;
    RETURN way || CASE WHEN rows_of_plan IS NOT DISTINCT FROM rows_of_sort
                       THEN format(': same %s rows', coalesce(cardinality(rows_of_plan), 0))
                       ELSE format(': %s, but a sort has %s', rows_of_plan, rows_of_sort) END;
END $$;

-- A reproducible vector with no ties: the i-th of dimension d.
CREATE FUNCTION filter_vector(i integer, d integer) RETURNS real[] LANGUAGE sql IMMUTABLE AS
$$ SELECT array_agg((sin(i * 12.9898 + j * 78.233) * cos(i * 0.37 * j))::real ORDER BY j) FROM generate_series(1, d) j $$;

CREATE TABLE filtered_rows (id integer PRIMARY KEY, thousandth integer, half integer, note text, embedding real[])
    WITH (fillfactor = 50, autovacuum_enabled = off);
INSERT INTO filtered_rows SELECT i, i % 1000, i % 2, 'n', filter_vector(i, 16) FROM generate_series(1, 20000) i;
CREATE INDEX ON filtered_rows (thousandth);
CREATE INDEX filtered_rows_semantic ON filtered_rows USING semantic (embedding real_cosine_ops);
ANALYZE filtered_rows;

-- The planner's choice: few rows are found first, of many the nearest are looked through.  Vectors in the table are
-- sorted by what the table has; where that is no choice the index's are.
EXPLAIN (COSTS OFF) SELECT id FROM filtered_rows WHERE thousandth = 7 ORDER BY embedding <=> '{1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1}' LIMIT 10;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT id FROM filtered_rows WHERE thousandth = 7 ORDER BY embedding <=> '{1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1}' LIMIT 10;
RESET enable_sort;
EXPLAIN (COSTS OFF) SELECT id FROM filtered_rows WHERE half = 1 ORDER BY embedding <=> '{1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1}' LIMIT 10;
SELECT filtered('SELECT id FROM filtered_rows WHERE thousandth = 7 ORDER BY embedding <=> filter_vector(5, 16) LIMIT 10');
SELECT filtered('SELECT id FROM filtered_rows WHERE thousandth < 10 ORDER BY embedding <=> filter_vector(5, 16) LIMIT 10');
SELECT filtered('SELECT id FROM filtered_rows WHERE thousandth < 10 ORDER BY embedding <=> filter_vector(5, 16)');
SELECT filtered('SELECT id FROM filtered_rows WHERE thousandth IN (1, 50, 999, 1000, -1) AND half = 0 ORDER BY embedding <=> filter_vector(5, 16) LIMIT 60');
SELECT filtered('SELECT id FROM filtered_rows WHERE id = 4711 ORDER BY embedding <=> filter_vector(5, 16) LIMIT 10');
SELECT filtered('SELECT id FROM filtered_rows WHERE thousandth = 1000 ORDER BY embedding <=> filter_vector(5, 16) LIMIT 10');
SELECT filtered('SELECT id FROM filtered_rows WHERE id = ANY (ARRAY(SELECT i FROM generate_series(1, 20000, 97) i)) ORDER BY embedding <=> filter_vector(5, 16)');
-- semantic.recall is about the index's search; rows found first are scored all.
SET semantic.recall = 0.5;
SELECT filtered('SELECT id FROM filtered_rows WHERE thousandth < 10 ORDER BY embedding <=> filter_vector(9, 16) LIMIT 10');
RESET semantic.recall;
SET semantic.enable_filter_scan = off;
SELECT filtered('SELECT id FROM filtered_rows WHERE thousandth = 7 ORDER BY embedding <=> filter_vector(5, 16) LIMIT 10');
RESET semantic.enable_filter_scan;

-- The other distances have no such index here: a sort.
SELECT filtered('SELECT id FROM filtered_rows WHERE thousandth = 7 ORDER BY embedding <-> filter_vector(5, 16) LIMIT 10');
CREATE INDEX filtered_rows_l2 ON filtered_rows USING semantic (embedding real_l2_ops);
CREATE INDEX filtered_rows_ip ON filtered_rows USING semantic (embedding real_ip_ops) WITH (codec = 'f32');
SELECT filtered('SELECT id FROM filtered_rows WHERE thousandth = 7 ORDER BY embedding <-> filter_vector(5, 16) LIMIT 10');
SELECT filtered('SELECT id FROM filtered_rows WHERE thousandth = 7 ORDER BY embedding <#> filter_vector(5, 16) LIMIT 10');
DROP INDEX filtered_rows_l2, filtered_rows_ip;

-- Updated in place (HOT), moved, deleted, without a vector or a direction.
UPDATE filtered_rows SET note = 'changed' WHERE thousandth = 7 AND id % 3 = 0;
UPDATE filtered_rows SET note = 'again' WHERE thousandth = 7 AND id % 3 = 0;
UPDATE filtered_rows SET embedding = filter_vector(id + 50000, 16) WHERE thousandth = 7 AND id % 4 = 0;
DELETE FROM filtered_rows WHERE thousandth = 7 AND id % 5 = 0;
UPDATE filtered_rows SET embedding = NULL WHERE id = 1007;
UPDATE filtered_rows SET embedding = array_fill(0::real, ARRAY[16]) WHERE id = 2007;
SELECT filtered('SELECT id FROM filtered_rows WHERE thousandth = 7 ORDER BY embedding <=> filter_vector(5, 16)');
SELECT id, embedding <=> filter_vector(5, 16) AS distance FROM filtered_rows WHERE id IN (1007, 2007) ORDER BY 2;
VACUUM filtered_rows;
SELECT filtered('SELECT id FROM filtered_rows WHERE thousandth = 7 ORDER BY embedding <=> filter_vector(5, 16)');
SELECT count(*) FROM (SELECT id FROM filtered_rows WHERE thousandth = 7 ORDER BY embedding <=> NULL::real[]) q;
SELECT id FROM filtered_rows WHERE thousandth = 7 ORDER BY embedding <=> '{1,2}' LIMIT 3;
SELECT * FROM semantic_index_check('filtered_rows_semantic');

-- This transaction's rows are there, those of a subtransaction rolled back are not.
BEGIN;
INSERT INTO filtered_rows SELECT i, 7, 0, 'mine', filter_vector(i, 16) FROM generate_series(30001, 30010) i;
SAVEPOINT before;
INSERT INTO filtered_rows SELECT i, 7, 0, 'not kept', filter_vector(i, 16) FROM generate_series(30011, 30020) i;
SELECT filtered('SELECT id FROM filtered_rows WHERE thousandth = 7 ORDER BY embedding <=> filter_vector(30015, 16)');
ROLLBACK TO before;
SELECT filtered('SELECT id FROM filtered_rows WHERE thousandth = 7 ORDER BY embedding <=> filter_vector(30015, 16)');
ROLLBACK;
SELECT filtered('SELECT id FROM filtered_rows WHERE thousandth = 7 ORDER BY embedding <=> filter_vector(30015, 16)');

-- Rescans with other queries, joins, subqueries, prepared statements, cursors, row locks.
CREATE TABLE asked (n integer PRIMARY KEY, query real[]);
INSERT INTO asked SELECT n, filter_vector(n * 100 + 3, 16) FROM generate_series(1, 5) n;
SELECT filtered($$SELECT q.id FROM asked, LATERAL (SELECT id FROM filtered_rows WHERE thousandth = 12
    ORDER BY embedding <=> asked.query LIMIT 3) q ORDER BY n, q.id$$);
SELECT filtered($$SELECT q.id FROM asked, LATERAL (SELECT id FROM filtered_rows WHERE thousandth = asked.n
    ORDER BY embedding <=> asked.query LIMIT 3) q ORDER BY n, q.id$$);
SET enable_sort = off;
PREPARE nearest(integer, real[]) AS SELECT id FROM filtered_rows WHERE thousandth = $1 ORDER BY embedding <=> $2 LIMIT 2;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE nearest(12, filter_vector(12, 16));
EXECUTE nearest(12, filter_vector(12, 16));
EXECUTE nearest(13, filter_vector(1013, 16));
RESET plan_cache_mode;
BEGIN;
DECLARE near SCROLL CURSOR FOR SELECT id FROM filtered_rows WHERE thousandth = 12 ORDER BY embedding <=> filter_vector(12, 16);
FETCH 2 FROM near;
FETCH BACKWARD 1 FROM near;
FETCH 1 FROM near;
CLOSE near;
DECLARE near CURSOR FOR SELECT id FROM filtered_rows WHERE thousandth = 12 ORDER BY embedding <=> filter_vector(12, 16);
FETCH 2 FROM near;
UPDATE filtered_rows SET note = 'current' WHERE CURRENT OF near RETURNING id;
SELECT id FROM filtered_rows WHERE thousandth = 12 ORDER BY embedding <=> filter_vector(12, 16) LIMIT 1 FOR UPDATE;
ROLLBACK;
UPDATE filtered_rows SET note = 'nearest' WHERE id =
    (SELECT id FROM filtered_rows WHERE thousandth = 12 ORDER BY embedding <=> filter_vector(12, 16) LIMIT 1) RETURNING id;
SELECT ctid IS NOT NULL AS has_ctid, tableoid::regclass, note FROM filtered_rows WHERE thousandth = 12
    ORDER BY embedding <=> filter_vector(12, 16) LIMIT 1;

-- Partial indexes, where their condition is implied; expressions; partitions.
CREATE INDEX filtered_rows_half ON filtered_rows USING semantic ((embedding[1:8]) real_cosine_ops) WHERE half = 1;
ANALYZE filtered_rows;
SELECT filtered('SELECT id FROM filtered_rows WHERE half = 1 AND thousandth = 9 ORDER BY (embedding[1:8]) <=> filter_vector(5, 8) LIMIT 10');
SELECT filtered('SELECT id FROM filtered_rows WHERE thousandth = 9 ORDER BY (embedding[1:8]) <=> filter_vector(5, 8) LIMIT 10');
CREATE TABLE parted (id integer, tag integer, embedding real[]) PARTITION BY HASH (id);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO parted SELECT id, thousandth, embedding FROM filtered_rows WHERE embedding IS NOT NULL;
CREATE INDEX ON parted (tag);
CREATE INDEX parted_semantic ON parted USING semantic (embedding real_cosine_ops);
ANALYZE parted;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT id FROM parted WHERE tag = 7 ORDER BY embedding <=> '{1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1}' LIMIT 10;
SELECT filtered('SELECT id FROM parted WHERE tag = 7 ORDER BY embedding <=> filter_vector(5, 16) LIMIT 10');

-- Row security: what the policy hides is neither scored nor returned.
CREATE ROLE filter_reader;
ALTER TABLE filtered_rows ENABLE ROW LEVEL SECURITY;
CREATE POLICY odd ON filtered_rows FOR SELECT TO filter_reader USING (id % 2 = 1);
GRANT SELECT ON filtered_rows TO filter_reader;
SET ROLE filter_reader;
SELECT filtered('SELECT id FROM filtered_rows WHERE thousandth IN (7, 8) ORDER BY embedding <=> filter_vector(5, 16)');
SELECT count(*) FROM (SELECT id FROM filtered_rows WHERE thousandth IN (7, 8) ORDER BY embedding <=> filter_vector(5, 16)) q WHERE id % 2 = 0;
RESET ROLE;

-- Texts: their distances come from the index, no row is embedded again.
CREATE TABLE filtered_texts (id integer PRIMARY KEY, tag integer, body text);
INSERT INTO filtered_texts SELECT i, i % 50, 'note ' || i || CASE i % 4 WHEN 0 THEN ' on cats' WHEN 1 THEN ' on rain'
    WHEN 2 THEN ' on databases' ELSE ' on bread' END FROM generate_series(1, 1000) i;
INSERT INTO filtered_texts VALUES (2000, 3, NULL);
CREATE INDEX ON filtered_texts (tag);
CREATE INDEX filtered_texts_semantic ON filtered_texts USING semantic (body);
ANALYZE filtered_texts;
RESET enable_sort;
EXPLAIN (COSTS OFF) SELECT id FROM filtered_texts WHERE tag = 3 ORDER BY body <=> 'weather' LIMIT 5;
SELECT filtered($$SELECT id FROM filtered_texts WHERE tag = 3 ORDER BY body <=> 'weather'$$);
SELECT count(*), bool_and(abs(distance - exact) < 1e-4) AS close FROM
    (SELECT distance, 1 - semantic_similarity(body, 'weather') AS exact FROM
        (SELECT body, body <=> 'weather' AS distance FROM filtered_texts WHERE tag = 3 ORDER BY body <=> 'weather' LIMIT 5) a) b;
DROP TABLE filtered_rows, asked, parted, filtered_texts;
DROP ROLE filter_reader;
DROP FUNCTION filtered, filter_vector;
