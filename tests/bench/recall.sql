-- recall@10 of the index on points against a sequential scan, over the 100
-- vectors that are not in it, and the largest difference of a distance.  A row
-- as near as the exact tenth counts, whichever of several equal ones it is.

CREATE TEMP TABLE questions AS SELECT id, embedding FROM vectors WHERE id > 200000 ORDER BY id LIMIT 100;

SET enable_indexscan = off;
CREATE TEMP TABLE exact AS
SELECT q.id AS question, nearest.id, nearest.distance
FROM questions AS q,
     LATERAL (SELECT p.id, p.embedding <=> q.embedding AS distance
              FROM points AS p ORDER BY p.embedding <=> q.embedding LIMIT 10) AS nearest;

RESET enable_indexscan;
SET enable_seqscan = off;
SET enable_sort = off;
CREATE TEMP TABLE found AS
SELECT q.id AS question, nearest.id, nearest.distance
FROM questions AS q,
     LATERAL (SELECT p.id, p.embedding <=> q.embedding AS distance
              FROM points AS p ORDER BY p.embedding <=> q.embedding LIMIT 10) AS nearest;
RESET enable_seqscan;
RESET enable_sort;

SELECT round(count(*) FILTER (WHERE found.distance <= tenth.distance + 1e-6) / 1000.0, 4) AS recall,
       (SELECT max(abs(found.distance - exact.distance)) FROM found JOIN exact USING (question, id)) AS difference
FROM found
JOIN (SELECT question, max(distance) AS distance FROM exact GROUP BY question) AS tenth USING (question);
