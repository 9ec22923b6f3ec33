-- What the SQL fuzzers (t/100_sql_fuzz.pl, tests/run/sqlsmith.sh) call the
-- extension's functions with: rows, indexes of every kind, and values at the edges
-- of what each type holds.  Everything is in the schema fuzz.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_semantic;
CREATE SCHEMA fuzz;

CREATE TABLE fuzz.docs (
    id int PRIMARY KEY, body text, short varchar(40), vector real[], flag boolean, query semantic_query);
INSERT INTO fuzz.docs
SELECT i, CASE WHEN i % 17 <> 0 THEN 'document ' || i || ' about ' || (ARRAY['passwords', 'bread', 'trains', 'gardens'])[1 + i % 4] END,
       'short ' || i, CASE WHEN i % 13 <> 0 THEN ARRAY[sin(i), cos(i), i % 7]::real[] END, i % 2 = 0, 'query ' || i
FROM generate_series(1, 300) AS i;
CREATE INDEX docs_body ON fuzz.docs USING semantic (body);
CREATE INDEX docs_short ON fuzz.docs USING semantic (short) WITH (codec = f32) WHERE flag;
CREATE INDEX docs_upper ON fuzz.docs USING semantic (upper(body)) WITH (dimensions = 16);
CREATE INDEX docs_cosine ON fuzz.docs USING semantic (vector);
CREATE INDEX docs_l2 ON fuzz.docs USING semantic (vector real_l2_ops) WITH (codec = sq8);
CREATE INDEX docs_ip ON fuzz.docs USING semantic (vector real_ip_ops) WITH (codec = f16);
CREATE INDEX docs_flag ON fuzz.docs (flag);
ANALYZE fuzz.docs;

CREATE TABLE fuzz.parts (id int, body text) PARTITION BY RANGE (id);
CREATE TABLE fuzz.parts_low PARTITION OF fuzz.parts FOR VALUES FROM (MINVALUE) TO (100);
CREATE TABLE fuzz.parts_high PARTITION OF fuzz.parts FOR VALUES FROM (100) TO (MAXVALUE);
CREATE INDEX parts_body ON fuzz.parts USING semantic (body);
INSERT INTO fuzz.parts SELECT i, 'part ' || i FROM generate_series(90, 110) AS i;

CREATE UNLOGGED TABLE fuzz.unlogged (id int, vector real[]);
CREATE INDEX unlogged_vector ON fuzz.unlogged USING semantic (vector);
CREATE TABLE fuzz.empty (id int, body text);
CREATE INDEX empty_body ON fuzz.empty USING semantic (body);

-- An argument a row.
CREATE TABLE fuzz.arguments (
    index regclass, k int, model text, content text, texts text[], vector real[], query semantic_query);
INSERT INTO fuzz.arguments (index)
SELECT oid FROM pg_class WHERE relnamespace = 'fuzz'::regnamespace
UNION ALL SELECT unnest(ARRAY['pg_class', 'pg_class_oid_index', 'pg_toast.pg_toast_1255', 'semantic_models']::regclass[])
UNION ALL SELECT unnest(ARRAY[0, 1, 4294967295]::oid[]);
INSERT INTO fuzz.arguments (k)
SELECT unnest(ARRAY[-2147483648, -1, 0, 1, 2, 3, 5, 10, 100, 128, 1000, 10000, 100000, 2147483647]);
INSERT INTO fuzz.arguments (model)
SELECT unnest(ARRAY['default', 'default', 'default', 'default', '', 'none', 'DEFAULT', repeat('m', 300)]);
INSERT INTO fuzz.arguments (content)
SELECT unnest(ARRAY['', ' ', 'x', 'how do I reset my password', repeat('long text. ', 3000), repeat('a', 20000), E'\u0301\u200b\ufeff',
    E'tabs\tand\nlines\r\n\n\nparagraph', '[MASK]', '[CLS] [SEP] [PAD]', U&'\+01F600 \+01F468\200D\+01F469', 'This is {}.',
    'simple', 'max', 'query', 'fp16', '/', '/nonexistent', E'\x01\x02', repeat(U&'\4E2D', 1000)]);
INSERT INTO fuzz.arguments (texts)
VALUES ('{}'), ('{NULL}'), ('{a,NULL,""}'), ('{{a,b},{c,d}}'), ('[-3:-1]={x,y,z}'), (array_fill('many'::text, ARRAY[700])), ('{one}');
INSERT INTO fuzz.arguments (vector)
VALUES ('{}'), ('{NULL}'), ('{1,NULL,3}'), ('{{1,2,3},{4,5,6}}'), ('[-1:1]={1,2,3}'), ('{NaN,1,2}'), ('{Infinity,1,2}'), ('{-Infinity,1,2}'),
    ('{0,0,0}'), ('{-0,0,-0}'), ('{3.4e38,3.4e38,3.4e38}'), ('{-3.4e38,3.4e38,1}'), ('{1e-45,1e-45,0}'), ('{1,2,3}'), ('{1}'), ('{1,2,3,4}'),
    (array_fill(1::real, ARRAY[256])), (array_fill(1::real, ARRAY[16000])), (array_fill(1::real, ARRAY[65537])),
    (semantic_embed('a vector of the model'));
INSERT INTO fuzz.arguments (query)
SELECT content::semantic_query FROM fuzz.arguments WHERE content IS NOT NULL
UNION ALL SELECT semantic_query(semantic_embed('ready made'), 'default')
UNION ALL SELECT semantic_query(array_fill(0::real, ARRAY[256]), 'default');
