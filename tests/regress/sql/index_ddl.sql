-- DDL: all as with a B-tree.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_semantic;
RESET client_min_messages;
SET enable_seqscan = off;

CREATE FUNCTION point(i integer) RETURNS real[] LANGUAGE sql IMMUTABLE AS
$$ SELECT ARRAY[cos(i * 0.01), sin(i * 0.01), 0.1]::real[] $$;
CREATE FUNCTION nearest(query text DEFAULT 'SELECT id FROM t ORDER BY embedding <=> point(50) LIMIT 3') RETURNS integer[]
LANGUAGE plpgsql AS $$
DECLARE
    found integer[];
BEGIN
    EXECUTE 'SELECT array_agg(x) FROM (' || query || ') q(x)' INTO found;
    RETURN found;
END $$;

CREATE TABLE t (id integer, embedding real[]);
INSERT INTO t SELECT i, point(i) FROM generate_series(1, 200) i;
CREATE INDEX t_semantic ON t USING semantic (embedding);
SELECT nearest() @> '{50}';

-- REINDEX, also concurrently, and rolled back.
REINDEX INDEX t_semantic;
SELECT nearest() @> '{50}';
REINDEX INDEX CONCURRENTLY t_semantic;
SELECT nearest() @> '{50}';
BEGIN;
REINDEX INDEX t_semantic;
INSERT INTO t VALUES (1000, point(50));
SELECT nearest() @> '{50,1000}';
ROLLBACK;
SELECT nearest() @> '{50}', nearest() @> '{1000}';
SELECT * FROM semantic_index_check('t_semantic');
CREATE INDEX CONCURRENTLY t_second_semantic ON t USING semantic (embedding real_l2_ops);
SELECT nearest('SELECT id FROM t ORDER BY embedding <-> point(20) LIMIT 1');
SELECT * FROM semantic_index_check('t_second_semantic');
DROP INDEX CONCURRENTLY t_second_semantic;

-- TRUNCATE, rolled back and not.
BEGIN;
TRUNCATE t;
SELECT nearest();
INSERT INTO t VALUES (1, point(50));
SELECT nearest();
ROLLBACK;
SELECT nearest() @> '{50}';
TRUNCATE t;
SELECT nearest();
INSERT INTO t SELECT i, point(i) FROM generate_series(1, 200) i;
SELECT nearest() @> '{50}';
SELECT * FROM semantic_index_check('t_semantic');

-- DROP rolled back; CREATE rolled back.
BEGIN;
DROP INDEX t_semantic;
ROLLBACK;
SELECT nearest() @> '{50}';
BEGIN;
CREATE INDEX t_other_semantic ON t USING semantic (embedding real_l2_ops);
ROLLBACK;
BEGIN;
SAVEPOINT s;
DROP TABLE t;
ROLLBACK TO s;
INSERT INTO t VALUES (2000, point(50));
COMMIT;
SELECT nearest() @> '{50,2000}';
-- Built, filled and emptied in one transaction.
BEGIN;
CREATE TABLE u (id integer, embedding real[]);
INSERT INTO u SELECT i, point(i) FROM generate_series(1, 20) i;
CREATE INDEX u_semantic ON u USING semantic (embedding);
INSERT INTO u VALUES (21, point(21));
SELECT nearest('SELECT id FROM u ORDER BY embedding <=> point(21) LIMIT 1');
TRUNCATE u;
INSERT INTO u VALUES (22, point(22));
SELECT nearest('SELECT id FROM u ORDER BY embedding <=> point(21)');
COMMIT;
SELECT nearest('SELECT id FROM u ORDER BY embedding <=> point(21)');
SELECT * FROM semantic_index_check('u_semantic');
DROP TABLE u;

-- VACUUM FULL, CLUSTER, ALTER TABLE rewrite, rename, schema.
DELETE FROM t WHERE id BETWEEN 100 AND 150;
VACUUM FULL t;
SELECT nearest() @> '{50,2000}';
CREATE INDEX t_id ON t (id);
CLUSTER t USING t_id;
SELECT nearest() @> '{50,2000}';
ALTER TABLE t ALTER COLUMN id TYPE bigint;
SELECT nearest('SELECT id::integer FROM t ORDER BY embedding <=> point(50) LIMIT 3') @> '{50,2000}';
ALTER TABLE t ALTER COLUMN id TYPE integer;
ALTER INDEX t_semantic RENAME TO t_renamed_semantic;
SELECT nearest() @> '{50,2000}';
SELECT * FROM semantic_index_check('t_renamed_semantic');
CLUSTER t USING t_renamed_semantic;

-- Partial index: rows enter and leave.
CREATE TABLE p (id integer, active boolean, embedding real[]);
INSERT INTO p SELECT i, i % 2 = 0, point(i) FROM generate_series(1, 100) i;
CREATE INDEX p_semantic ON p USING semantic (embedding) WHERE active;
EXPLAIN (COSTS OFF) SELECT id FROM p WHERE active ORDER BY embedding <=> point(51) LIMIT 2;
SELECT nearest('SELECT id FROM p WHERE active ORDER BY embedding <=> point(51) LIMIT 2') @> '{50,52}';
UPDATE p SET active = true WHERE id = 51;
UPDATE p SET active = false WHERE id = 52;
SELECT nearest('SELECT id FROM p WHERE active ORDER BY embedding <=> point(51) LIMIT 2') @> '{50,51}';
VACUUM p;
SELECT * FROM semantic_index_check('p_semantic');
DROP TABLE p;

-- Partitions.
CREATE TABLE parted (id integer, embedding real[]) PARTITION BY RANGE (id);
CREATE INDEX parted_semantic ON parted USING semantic (embedding);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (100) TO (1000);
INSERT INTO parted SELECT i, point(i) FROM generate_series(1, 200) i;
EXPLAIN (COSTS OFF) SELECT id FROM parted ORDER BY embedding <=> point(100) LIMIT 3;
SELECT nearest('SELECT id FROM parted ORDER BY embedding <=> point(100) LIMIT 3') @> '{99,100,101}';
UPDATE parted SET id = 500 WHERE id = 50;
SELECT nearest('SELECT id FROM parted ORDER BY embedding <=> point(50) LIMIT 1');
SELECT count(*) FROM semantic_index_check('parted_low_embedding_idx');
SELECT count(*) FROM semantic_index_check('parted_high_embedding_idx');
SELECT * FROM semantic_index_check('parted_semantic');
ALTER TABLE parted DETACH PARTITION parted_low;
SELECT nearest('SELECT id FROM parted_low ORDER BY embedding <=> point(20) LIMIT 1');
DROP TABLE parted, parted_low;

-- Unlogged and temporary tables.
CREATE UNLOGGED TABLE fast (id integer, embedding real[]);
CREATE INDEX fast_semantic ON fast USING semantic (embedding);
INSERT INTO fast SELECT i, point(i) FROM generate_series(1, 50) i;
SELECT nearest('SELECT id FROM fast ORDER BY embedding <=> point(30) LIMIT 1');
ALTER TABLE fast SET LOGGED;
SELECT nearest('SELECT id FROM fast ORDER BY embedding <=> point(30) LIMIT 1');
SELECT * FROM semantic_index_check('fast_semantic');
DROP TABLE fast;
CREATE TEMPORARY TABLE brief (id integer, embedding real[]) ON COMMIT DELETE ROWS;
CREATE INDEX brief_semantic ON brief USING semantic (embedding);
BEGIN;
INSERT INTO brief SELECT i, point(i) FROM generate_series(1, 50) i;
SELECT nearest('SELECT id FROM brief ORDER BY embedding <=> point(30) LIMIT 1');
COMMIT;
SELECT nearest('SELECT id FROM brief ORDER BY embedding <=> point(30) LIMIT 1');
BEGIN;
INSERT INTO brief VALUES (7, point(7));
SELECT nearest('SELECT id FROM brief ORDER BY embedding <=> point(30) LIMIT 1');
COMMIT;
DROP TABLE brief;

-- Parallel plans see the transaction's own rows.
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SET force_parallel_mode = on;
BEGIN;
INSERT INTO t VALUES (3000, point(50));
SELECT count(*) FROM (SELECT id FROM t ORDER BY embedding <=> point(50) LIMIT 3) q WHERE id = 3000;
COMMIT;
RESET force_parallel_mode;

-- Operator classes of one's own: any type with a function that makes real[] of it, and no other.
CREATE TABLE places (id integer PRIMARY KEY, place point);
INSERT INTO places SELECT i, pg_catalog.point(i, i % 10) FROM generate_series(1, 300) i;
CREATE FUNCTION coordinates(point) RETURNS real[] IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql
    AS 'SELECT ARRAY[$1[0], $1[1]]::real[]';
CREATE OPERATOR CLASS point_l2_ops FOR TYPE point USING semantic AS
    OPERATOR 1 <-> (point, point) FOR ORDER BY float_ops, FUNCTION 1 semantic_opclass_real_l2(),
    FUNCTION 2 coordinates(point);
SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'point_l2_ops';
CREATE INDEX places_semantic ON places USING semantic (place point_l2_ops);
EXPLAIN (COSTS OFF) SELECT id FROM places ORDER BY place <-> '(77,7)' LIMIT 1;
SELECT id FROM places ORDER BY place <-> '(77,7)' LIMIT 1;
DROP INDEX places_semantic;
DROP OPERATOR FAMILY point_l2_ops USING semantic CASCADE;
CREATE OPERATOR CLASS point_none_ops FOR TYPE point USING semantic AS
    OPERATOR 1 <-> (point, point) FOR ORDER BY float_ops, FUNCTION 1 semantic_opclass_real_l2();
CREATE OPERATOR CLASS point_text_ops FOR TYPE point USING semantic AS
    OPERATOR 1 <-> (point, point) FOR ORDER BY float_ops, FUNCTION 1 semantic_opclass_text();
CREATE OPERATOR CLASS point_other_ops FOR TYPE point USING semantic AS
    OPERATOR 1 <-> (point, point) FOR ORDER BY float_ops, FUNCTION 1 semantic_opclass_real_l2(),
    FUNCTION 2 float8(integer);
SELECT opcname, amvalidate(oid) FROM pg_opclass WHERE opcname LIKE 'point\_%\_ops' ORDER BY opcname;
CREATE INDEX ON places USING semantic (place point_none_ops);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX ON places USING semantic (place point_text_ops);
CREATE INDEX ON places USING semantic (place point_other_ops);
CREATE OPERATOR CLASS point_line_ops FOR TYPE point USING semantic AS
    OPERATOR 1 <-> (point, line) FOR ORDER BY float_ops, FUNCTION 1 semantic_opclass_real_l2(),
    FUNCTION 2 coordinates(point);
CREATE INDEX places_line ON places USING semantic (place point_line_ops);
SELECT id FROM places ORDER BY place <-> line '{1,-1,0}' LIMIT 1;
DROP TABLE places;
DROP OPERATOR FAMILY point_none_ops USING semantic CASCADE;
DROP OPERATOR FAMILY point_text_ops USING semantic CASCADE;
DROP OPERATOR FAMILY point_other_ops USING semantic CASCADE;
DROP OPERATOR FAMILY point_line_ops USING semantic CASCADE;
DROP FUNCTION coordinates(point);

DROP TABLE t;
DROP FUNCTION nearest(text);
DROP FUNCTION point(integer);
SELECT count(*) FROM semantic_indexes;
