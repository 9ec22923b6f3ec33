-- What a role may not see, no function tells it: every function that reads a
-- table or its index, called by the owner, by roles with SELECT on the table, on one
-- column, on nothing, and by one from which row security hides rows.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_semantic;
RESET client_min_messages;

CREATE ROLE semantic_owner;
CREATE ROLE semantic_reader;
CREATE ROLE semantic_indexed;  -- SELECT on the indexed column
CREATE ROLE semantic_other;    -- SELECT on another one
CREATE ROLE semantic_nobody;
CREATE ROLE semantic_hidden;   -- row security leaves it two rows of four
CREATE ROLE semantic_bypass BYPASSRLS;
CREATE SCHEMA guarded;
GRANT ALL ON SCHEMA guarded TO PUBLIC;
SET search_path = guarded, public;

-- The result of a query's first column, or its SQLSTATE.
CREATE FUNCTION outcome(who name, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', who);
    EXECUTE statement INTO result;
    RESET ROLE;
    RETURN coalesce(result, 'NULL');
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;

SET ROLE semantic_owner;
CREATE TABLE docs (id int PRIMARY KEY, body text, vector real[]);
INSERT INTO docs SELECT id, body, semantic_embed(body) FROM (VALUES
    (1, 'How to reset the password'), (2, 'The secret plan is in the second drawer'),
    (3, 'Trains leave every ten minutes'), (4, 'Bread wants a hot oven')) AS t (id, body);
CREATE INDEX docs_body ON docs USING semantic (body) WITH (codec = sq8);
CREATE INDEX docs_vector ON docs USING semantic (vector);
CREATE INDEX docs_upper ON docs USING semantic (upper(body)) WHERE id > 0;
GRANT SELECT ON docs TO semantic_reader, semantic_hidden, semantic_bypass;
GRANT SELECT (body) ON docs TO semantic_indexed;
GRANT SELECT (id) ON docs TO semantic_other;
ALTER TABLE docs ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON docs TO semantic_reader, semantic_indexed, semantic_other USING (true);
CREATE POLICY odd ON docs TO semantic_hidden USING (id % 2 = 1);
ALTER TABLE docs DISABLE ROW LEVEL SECURITY;
RESET ROLE;

CREATE TABLE statements (number int, statement text);
INSERT INTO statements VALUES
    (1, $$SELECT count(*) FROM semantic_search('docs_body', 'the secret plan', 100)$$),
    (2, $$SELECT content FROM semantic_search('docs_body', 'the secret plan', 1)$$),
    (3, $$SELECT count(*) FROM semantic_search('docs_vector', 'x', 100)$$),
    (4, $$SELECT count(*) FROM semantic_search('docs_upper', 'x', 100)$$),
    (5, $$SELECT semantic_index_recall('docs_body')$$),
    (6, $$SELECT count(*) FROM semantic_index_check('docs_body')$$),
    (7, $$SELECT count(*) FROM semantic_index_check('docs_vector')$$),
    (8, $$SELECT count(*) FROM (SELECT body FROM docs ORDER BY body <=> 'the secret plan') q$$),
    (9, $$SELECT count(*) FROM (SELECT id FROM docs ORDER BY vector <=> semantic_embed('x')) q$$),
    (10, $$SELECT count(*) FROM (SELECT body FROM docs WHERE id < 4 ORDER BY body <=> 'x') q$$),
    (11, $$SELECT min(round((body <=> 'the secret plan')::numeric, 1)) FROM docs$$),
    (12, $$SELECT count(*) FROM semantic_indexes WHERE table_name = 'docs'::regclass$$);

-- Without row security, and with it.  (As sequential scans and as scans of the index.)
SELECT number, outcome('semantic_owner', statement) AS owner, outcome('semantic_reader', statement) AS reader,
       outcome('semantic_indexed', statement) AS indexed, outcome('semantic_other', statement) AS other,
       outcome('semantic_nobody', statement) AS nobody
FROM statements ORDER BY number;
ALTER TABLE docs ENABLE ROW LEVEL SECURITY;
CREATE TEMP TABLE sequential AS
SELECT number, outcome('semantic_owner', statement) AS owner, outcome('semantic_reader', statement) AS reader,
       outcome('semantic_indexed', statement) AS indexed, outcome('semantic_other', statement) AS other,
       outcome('semantic_nobody', statement) AS nobody, outcome('semantic_hidden', statement) AS hidden,
       outcome('semantic_bypass', statement) AS bypass
FROM statements;
SELECT * FROM sequential ORDER BY number;
SET enable_seqscan = off;
SET enable_sort = off;
SELECT number, outcome('semantic_owner', statement) AS owner, outcome('semantic_reader', statement) AS reader,
       outcome('semantic_indexed', statement) AS indexed, outcome('semantic_other', statement) AS other,
       outcome('semantic_nobody', statement) AS nobody, outcome('semantic_hidden', statement) AS hidden,
       outcome('semantic_bypass', statement) AS bypass
FROM statements EXCEPT TABLE sequential;
-- The owner, too, where row security is forced.
ALTER TABLE docs FORCE ROW LEVEL SECURITY;
SELECT number, outcome('semantic_owner', statement) AS owner FROM statements WHERE number < 8 ORDER BY number;
ALTER TABLE docs NO FORCE ROW LEVEL SECURITY;
-- What such an error says.
SET ROLE semantic_hidden;
SELECT semantic_index_recall('docs_body');
SELECT * FROM semantic_index_check('docs_body');
RESET ROLE;
SET ROLE semantic_nobody;
SELECT semantic_index_recall('docs_body');
SELECT * FROM semantic_index_check('docs_body');
SELECT * FROM semantic_search('docs_body', 'x');
RESET ROLE;

-- Whoever may call a function of the owner's sees what the owner lets it.
SET ROLE semantic_owner;
CREATE FUNCTION ask(question text) RETURNS SETOF text LANGUAGE sql SECURITY DEFINER
    AS $$ SELECT content FROM semantic_search('docs_body', question, 1) $$;
RESET ROLE;
SET ROLE semantic_nobody;
SELECT ask('the secret plan');
RESET ROLE;

-- A function of the caller's in the WHERE clause meets no hidden row, in an index
-- scan and in a Semantic Filter Scan.
SET ROLE semantic_hidden;
CREATE FUNCTION tell(body text) RETURNS boolean COST 0.0001 LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'told: %', body; RETURN true; END $$;
EXPLAIN (COSTS OFF) SELECT id FROM docs WHERE tell(body) ORDER BY body <=> 'x';
SELECT id FROM docs WHERE tell(body) ORDER BY body <=> 'x';
SET enable_indexscan = off;
SELECT id FROM docs WHERE tell(body) ORDER BY body <=> 'x';
RESET enable_indexscan;
RESET enable_seqscan;
RESET enable_sort;
RESET ROLE;
CREATE TABLE many (id int PRIMARY KEY, tag int, body text, vector real[]);
INSERT INTO many SELECT i, i % 1000, 'row ' || i, ARRAY[sin(i), cos(i)] FROM generate_series(1, 5000) AS i;
CREATE INDEX ON many (tag);
CREATE INDEX many_vector ON many USING semantic (vector);
ANALYZE many;
ALTER TABLE many ENABLE ROW LEVEL SECURITY;
CREATE POLICY odd ON many TO semantic_hidden USING (id / 1000 % 2 = 1);
GRANT SELECT ON many TO semantic_hidden;
SET ROLE semantic_hidden;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT id FROM many WHERE tag = 7 AND tell(body) ORDER BY vector <=> '{0,1}' LIMIT 3;
SELECT id FROM many WHERE tag = 7 AND tell(body) ORDER BY vector <=> '{0,1}' LIMIT 3;
-- No distance tells of a row that a scan met and did not return: what the index says of the content
-- (in 8 bits a number, here) is not what the operator says of a guess.
SET enable_seqscan = off;
SET enable_sort = off;
SELECT 'The secret plan is in the second drawer' <=> 'guess'::semantic_query AS before \gset
SELECT id FROM docs ORDER BY body <=> 'guess';
SELECT 'The secret plan is in the second drawer' <=> 'guess'::semantic_query = :before AS as_before;
-- In the same statement, by whatever comes after the hidden row.
SELECT bool_and('The secret plan is in the second drawer' <=> 'guess'::semantic_query = :before) AS as_before
FROM (SELECT id FROM docs ORDER BY body <=> 'guess' OFFSET 0) q;
-- Nor in a function of another role's that meets more rows.
RESET ROLE;
SET ROLE semantic_owner;
CREATE FUNCTION scan_all() RETURNS bigint LANGUAGE sql SECURITY DEFINER
    SET enable_seqscan = off SET enable_sort = off
    AS $$ SELECT count(*) FROM (SELECT id FROM guarded.docs ORDER BY body <=> 'guess' OFFSET 0) q $$;
-- (The owner's own scans do leave distances: that is what makes the difference above.)
SELECT scan_all();
SELECT 'The secret plan is in the second drawer' <=> 'guess'::semantic_query = :before AS as_before;
RESET ROLE;
SET ROLE semantic_nobody;
SELECT scan_all();
SELECT 'The secret plan is in the second drawer' <=> 'guess'::semantic_query = :before AS as_before;
RESET enable_seqscan;
RESET enable_sort;
RESET ROLE;

-- An index's functions are its owner's: they run as the owner's when somebody else checks the index.
SET ROLE semantic_owner;
CREATE FUNCTION spell(body text) RETURNS text IMMUTABLE LANGUAGE plpgsql
    AS $$ BEGIN RAISE NOTICE 'spelt by %', current_user; RETURN body; END $$;
CREATE TABLE trap (body text);
CREATE INDEX trap_body ON trap USING semantic (spell(body));
INSERT INTO trap VALUES ('a trap');
RESET ROLE;
SELECT * FROM semantic_index_check('trap_body');
SELECT current_user = session_user AS myself_again;
-- It can leave nothing behind in the session of whoever checks.
SET ROLE semantic_owner;
CREATE OR REPLACE FUNCTION spell(body text) RETURNS text IMMUTABLE LANGUAGE plpgsql
    AS $$ BEGIN PERFORM set_config('work_mem', '65kB', false); RETURN body; END $$;
RESET ROLE;
SELECT * FROM semantic_index_check('trap_body');
SHOW work_mem;
SET ROLE semantic_owner;
CREATE FUNCTION leave_behind() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CREATE TEMP TABLE left_behind (i int); END $$;
CREATE OR REPLACE FUNCTION spell(body text) RETURNS text IMMUTABLE LANGUAGE plpgsql
    AS $$ BEGIN PERFORM leave_behind(); RETURN body; END $$;
RESET ROLE;
SELECT * FROM semantic_index_check('trap_body');
\echo :LAST_ERROR_SQLSTATE
SELECT current_user = session_user AS myself_again;

-- What belongs to the extension is nobody's to change.
INSERT INTO statements VALUES
    (21, 'SELECT count(*) FROM semantic_models WHERE name = ''default'''),
    (22, 'SELECT count(*) FROM semantic_model_catalog'),
    (23, 'SELECT count(*) FROM semantic_model_parts'),
    (24, 'UPDATE semantic_model_catalog SET file_sha256 = '''' RETURNING 1'),
    (25, 'UPDATE semantic_models SET name = ''mine'' RETURNING 1'),
    (26, 'DELETE FROM semantic_model_parts RETURNING 1'),
    (27, 'INSERT INTO semantic_model_parts VALUES ('''', 0, false, 0, '''') RETURNING 1'),
    (28, 'SELECT semantic_drop_model(''default'')'),
    (29, 'SELECT semantic_load_model(''mine'', ''/'')'),
    (30, 'SELECT semantic_load_model(''mine'', ''/no/such/directory'')'),
    (31, 'SELECT semantic_load_model(NULL, NULL)'),
    (32, 'SELECT semantic_enable_pgvector()'),
    (33, 'SELECT * FROM semantic_models_changed()');
SELECT number, outcome('semantic_owner', statement) AS owner, outcome('semantic_nobody', statement) AS nobody
FROM statements WHERE number > 20 ORDER BY number;
-- Without the right, a path is not looked at: one error whatever lies there.
SET ROLE semantic_nobody;
SELECT semantic_load_model('mine', '/');
SELECT semantic_load_model('mine', '/no/such/directory');
-- Another's table is not to be indexed, nor its index to be rebuilt, altered or dropped.
CREATE INDEX ON docs USING semantic (body);
REINDEX INDEX docs_body;
ALTER INDEX docs_body SET (codec = f32);
DROP INDEX docs_body;
-- The trigger function harms no table that it is put on.
CREATE TABLE own (i int);
CREATE TRIGGER own_trigger AFTER INSERT ON own FOR EACH STATEMENT EXECUTE FUNCTION semantic_models_changed();
INSERT INTO own VALUES (1);
SELECT cardinality(semantic_embed('x')) > 0 AS embeds;
RESET ROLE;

-- A search_path full of look-alikes changes nothing: what is generated names its schemas.
CREATE SCHEMA impostors;
SELECT array_agg(content) AS honest FROM semantic_search('docs_body', 'hot oven', 2) \gset
CREATE FUNCTION impostors.distance(text, semantic_query) RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN RAISE 'impostor'; END $$;
CREATE OPERATOR impostors.<=> (LEFTARG = text, RIGHTARG = semantic_query, FUNCTION = impostors.distance);
CREATE FUNCTION impostors.upper(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'impostor'; END $$;
CREATE FUNCTION impostors.greater(int, int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'impostor'; END $$;
CREATE OPERATOR impostors.> (LEFTARG = int, RIGHTARG = int, FUNCTION = impostors.greater);
CREATE TYPE impostors.semantic_query AS (i int);
CREATE TABLE impostors.docs (body text);
CREATE TABLE impostors.semantic_model_catalog (name text);
CREATE TABLE impostors.semantic_model_parts (name text);
SET search_path = impostors, pg_catalog, guarded, public;
SELECT array_agg(content) = :'honest' AS same FROM guarded.outcome('semantic_owner', 'SELECT 1') o, semantic_search('docs_body', 'hot oven', 2);
SELECT count(*) FROM semantic_search('docs_upper', 'hot oven', 10);
SELECT count(*) FROM semantic_index_check('docs_upper');
SELECT count(*) FROM semantic_indexes WHERE table_name = 'guarded.docs'::regclass;
SET search_path = guarded, public;

SET client_min_messages = warning;
DROP SCHEMA guarded, impostors CASCADE;
DROP OWNED BY semantic_owner, semantic_nobody, semantic_hidden CASCADE;
DROP ROLE semantic_owner, semantic_reader, semantic_indexed, semantic_other, semantic_nobody, semantic_hidden, semantic_bypass;
