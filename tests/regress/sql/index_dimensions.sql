-- The index option dimensions: leading numbers of the embeddings only.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_semantic;
RESET client_min_messages;

CREATE TABLE facts (id int PRIMARY KEY, body text);
INSERT INTO facts
SELECT i, (ARRAY['cats', 'dogs', 'banks', 'rain', 'bread', 'trains', 'passwords'])[i % 7 + 1] || ' and ' ||
          (ARRAY['music', 'money', 'water', 'winter', 'doctors'])[i % 5 + 1] || ', number ' || i
FROM generate_series(1, 200) AS i;
INSERT INTO facts VALUES (201, NULL);
CREATE INDEX facts_64 ON facts USING semantic (body) WITH (dimensions = 64);
SELECT dimensions, vectors, state FROM semantic_indexes WHERE index = 'facts_64'::regclass;

-- What the index must give: the order of the leading 64 numbers of each embedding.
CREATE VIEW by_hand AS
SELECT id, (semantic_embed(body))[1:64] <=> (semantic_embed('a visit to the vet'))[1:64] AS distance FROM facts;
CREATE VIEW whole AS SELECT id, body <=> 'a visit to the vet' AS distance FROM facts;

SET enable_seqscan = off;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT id FROM facts ORDER BY body <=> 'a visit to the vet';
CREATE TABLE found AS
SELECT id, row_number() OVER () AS place FROM (SELECT id FROM facts ORDER BY body <=> 'a visit to the vet') AS scan;
SET enable_indexscan = off;
RESET enable_sort;
SELECT count(*), bool_and(distance >= before - 1e-6 OR before IS NULL) AS nearest_first
FROM (SELECT distance, lag(distance) OVER (ORDER BY place) AS before FROM found JOIN by_hand USING (id)) AS neighbours;
-- Not the order of whole embeddings.
SELECT bool_and(distance >= before - 1e-6 OR before IS NULL) AS nearest_first
FROM (SELECT distance, lag(distance) OVER (ORDER BY place) AS before FROM found JOIN whole USING (id)) AS neighbours;
RESET enable_indexscan;

-- The operator is that of whole embeddings, whatever a scan has just returned.
SET enable_sort = off;
CREATE TABLE shown AS
SELECT id, body <=> 'a visit to the vet' AS distance FROM facts ORDER BY body <=> 'a visit to the vet' LIMIT 20;
SELECT count(*), max(abs(shown.distance -
       ((semantic_embed(body)) <=> (semantic_embed('a visit to the vet'))))) < 1e-5 AS exact
FROM shown JOIN facts USING (id);
RESET enable_sort;
-- The second step: a shortlist by the leading numbers, ordered by all.  The planner
-- takes the shortlist for sorted, so that a plain ORDER BY would do nothing.
EXPLAIN (COSTS OFF)
WITH shortlist AS MATERIALIZED (
    SELECT id, body <=> 'a visit to the vet' AS distance FROM facts ORDER BY body <=> 'a visit to the vet' LIMIT 50)
SELECT id FROM shortlist ORDER BY distance + 0 LIMIT 5;
SELECT count(*) AS nearest_of_all FROM (
    WITH shortlist AS MATERIALIZED (
        SELECT id, body <=> 'a visit to the vet' AS distance FROM facts ORDER BY body <=> 'a visit to the vet' LIMIT 100)
    SELECT id FROM shortlist ORDER BY distance + 0 LIMIT 5) AS found
JOIN (SELECT id FROM facts ORDER BY semantic_embed(body) <=> semantic_embed('a visit to the vet') LIMIT 5) AS nearest USING (id);

-- Rows of later, and a table that starts empty.
INSERT INTO facts VALUES (202, 'a visit to the vet');
SELECT id FROM facts ORDER BY body <=> 'a visit to the vet' LIMIT 1;
UPDATE facts SET body = 'bread' WHERE id = 202;
DELETE FROM facts WHERE id % 3 = 0;
VACUUM facts;
SELECT * FROM semantic_index_check('facts_64');
REINDEX INDEX CONCURRENTLY facts_64;
SELECT dimensions, vectors, state FROM semantic_indexes WHERE index = 'facts_64'::regclass;
SELECT semantic_index_recall('facts_64') >= 0.9 AS recalled;
SELECT count(*), bool_and(content LIKE 'dogs%' OR content LIKE 'cats%') FROM semantic_search('facts_64', 'dogs', 3);
CREATE TABLE later (id int, body text);
CREATE INDEX later_32 ON later USING semantic (body) WITH (dimensions = 32);
INSERT INTO later VALUES (1, 'bread'), (2, 'rain');
SELECT id FROM later ORDER BY body <=> 'baker' LIMIT 1;
SELECT dimensions FROM semantic_indexes WHERE index = 'later_32'::regclass;

-- As many as the model has: an index like any other.
CREATE INDEX later_all ON later USING semantic (body) WITH (dimensions = 256);
CREATE INDEX later_zero ON later USING semantic (body) WITH (dimensions = 0);
SELECT index, dimensions FROM semantic_indexes WHERE table_name = 'later'::regclass ORDER BY index::text;

-- What ALTER INDEX sets counts from the next build on, and is checked then.
ALTER INDEX later_32 SET (dimensions = 16);
INSERT INTO later VALUES (3, 'snow');
SELECT dimensions, vectors FROM semantic_indexes WHERE index = 'later_32'::regclass;
REINDEX INDEX later_32;
SELECT dimensions, vectors FROM semantic_indexes WHERE index = 'later_32'::regclass;
ALTER INDEX later_32 SET (dimensions = 257);
REINDEX INDEX later_32;
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM semantic_index_check('later_32');

-- Refused.
CREATE INDEX ON later USING semantic (body) WITH (dimensions = 257);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX ON later USING semantic (body) WITH (dimensions = -1);
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE later ADD COLUMN embedding real[];
CREATE INDEX ON later USING semantic (embedding) WITH (dimensions = 2);
\echo :LAST_ERROR_SQLSTATE

DROP VIEW by_hand, whole;
DROP TABLE facts, found, shown, later;
