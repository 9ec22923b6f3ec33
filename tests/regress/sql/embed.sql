-- Text to vectors with the model that is shipped.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_semantic;
RESET client_min_messages;
CREATE FUNCTION pg_temp.largest_difference(a real[], b real[]) RETURNS float8 LANGUAGE sql AS
    'SELECT max(abs(x - y)) FROM unnest(a, b) AS elements(x, y)';

-- One text. The shipped model's embeddings have length 1.
SELECT cardinality(semantic_embed('reset my password')) AS dimensions;
SELECT round(sum(element::float8 ^ 2)::numeric, 5) AS squared_length
FROM unnest(semantic_embed('reset my password')) AS element;
SELECT semantic_embed('twice') = semantic_embed('twice') AS same;
SELECT semantic_embed('Reset   MY password') = semantic_embed('reset my password') AS uncased_model;
SELECT cardinality(semantic_embed('')) AS of_an_empty_text, cardinality(semantic_embed(E' \n\t ')) AS of_white_space;
SELECT semantic_embed(NULL) IS NULL AS null_content, semantic_embed(NULL, 'no such model') IS NULL AS asks_for_no_model;
SELECT cardinality(semantic_embed('日本語 — Ελληνικά — עברית — 🙂')) AS other_scripts;

-- Meaning.
SELECT semantic_similarity('how do I change my password?', 'steps to reset a login password')
       > semantic_similarity('how do I change my password?', 'the weather in the mountains is lovely') AS closer;
SELECT round(semantic_similarity('the same', 'the same')::numeric, 5) AS itself,
       semantic_similarity(NULL, 'x') IS NULL AS null_a, semantic_similarity('x', NULL) IS NULL AS null_b;
SELECT abs(semantic_similarity('a dog', 'a cat') - (1 - (semantic_embed('a dog') <=> semantic_embed('a cat')))) < 1e-6 AS is_the_cosine;

-- Prompts: the shipped model has none of its own, so any is a prefix.
SELECT pg_temp.largest_difference(semantic_embed('x', NULL, 'query: '), semantic_embed('query: x')) < 1e-6 AS prefix;
SELECT semantic_embed('x', prompt => '') = semantic_embed('x') AS empty_prompt;

-- Texts past max_tokens are cut.
SELECT semantic_embed(repeat('word ', 5000)) = semantic_embed(repeat('word ', 6000)) AS cut;
SELECT semantic_count_tokens(repeat('word ', 5000)) AS not_cut;

-- A batch: the same numbers, in order, NULL for NULL.
SELECT ordinal, embedding IS NULL AS is_null, cardinality(embedding)
FROM semantic_embed_batch(ARRAY['one', NULL, 'three', '']) ORDER BY ordinal;
WITH texts AS (
    SELECT array_agg(repeat('some text of any length ', n % 17) || n ORDER BY n) AS contents FROM generate_series(1, 1200) AS n)
SELECT count(*), max(pg_temp.largest_difference(embedding, semantic_embed(contents[ordinal]))) < 1e-5 AS same_numbers
FROM texts, semantic_embed_batch(contents);
SELECT count(*) FROM semantic_embed_batch('{}');
SELECT count(*) FROM semantic_embed_batch(NULL);
SELECT ordinal, embedding FROM semantic_embed_batch(ARRAY[NULL, NULL]::text[]);

-- Leading dimensions of a batch: the same numbers, cut, and no more.
SELECT ordinal, embedding IS NULL AS is_null, cardinality(embedding),
       pg_temp.largest_difference(embedding, (semantic_embed(content))[:5]) < 1e-6 AS same_numbers
FROM semantic_embed_batch(ARRAY['one', NULL, 'three', ''], dimensions => 5)
     JOIN unnest(ARRAY['one', NULL, 'three', '']) WITH ORDINALITY AS contents(content, ordinal) USING (ordinal)
ORDER BY ordinal;
SELECT cardinality(embedding) FROM semantic_embed_batch(ARRAY['one'], NULL, NULL, 256);
SELECT count(*) FROM semantic_embed_batch(NULL, dimensions => 0);

-- Hidden states: as many as the text has tokens.
SELECT ordinal, token, cardinality(embedding) FROM semantic_token_embeddings('a cat') ORDER BY ordinal;
SELECT count(*) FROM semantic_token_embeddings(NULL);
SELECT count(*) = max_tokens AS cut_at_max_tokens
FROM semantic_models, semantic_token_embeddings(repeat('word ', 5000)) WHERE name = 'default' GROUP BY max_tokens;

-- Tokens: offsets name substrings, count characters, and are NULL for what was added.
SELECT * FROM semantic_tokenize('A cat [MASK].') ORDER BY ordinal;
SELECT ordinal, substr(content, char_start + 1, char_end - char_start) AS written
FROM (SELECT 'Café, 日本 — Ünïcödé!' AS content) AS texts, semantic_tokenize(content)
WHERE char_start IS NOT NULL ORDER BY ordinal;
SELECT count(*) FROM semantic_tokenize(NULL);
SELECT semantic_count_tokens('') AS empty, semantic_count_tokens(NULL) IS NULL AS null_content,
       semantic_count_tokens('A cat [MASK].') = (SELECT count(*) FROM semantic_tokenize('A cat [MASK].')) AS as_many;

-- Chunks: substrings within the limit, without a gap.
CREATE TEMP TABLE document AS
SELECT string_agg(format(E'Paragraph %s begins here. It has a second sentence, which is longer than the first one; then it ends.', n), E'\n\n') AS content
FROM generate_series(1, 40) AS n;
SELECT count(*) > 5 AS several, bool_and(tokens <= 64) AS within_limit,
       bool_and(tokens = semantic_count_tokens(chunk)) AS counted,
       bool_and(chunk = substr(content, char_start + 1, char_end - char_start)) AS substrings
FROM document, semantic_chunk(content, 64, 8);
SELECT bool_and(btrim(substr(content, last_end + 1, greatest(0, char_start - last_end)), E' \n\t') = '') AS no_gap,
       max(char_end) = max(length(content)) AS to_the_end, bool_and(char_start > last_start) AS in_order
FROM document, LATERAL (
    SELECT char_start, char_end, lag(char_end, 1, 0) OVER (ORDER BY ordinal) AS last_end,
           lag(char_start, 1, -1) OVER (ORDER BY ordinal) AS last_start
    FROM semantic_chunk(content, 64, 8)) AS chunks;
SELECT ordinal, chunk, char_start, char_end FROM semantic_chunk('short');
SELECT count(*) FROM semantic_chunk(NULL);

-- Settings.
SHOW semantic.model;
SHOW semantic.rerank_model;
SHOW semantic.threads;
SHOW semantic.recall;
SHOW semantic.max_candidates;
SET semantic.threads = 1;
SELECT semantic_embed('threads change nothing') AS one_thread \gset
SET semantic.threads = 8;
SELECT pg_temp.largest_difference(semantic_embed('threads change nothing'), :'one_thread') < 1e-6 AS same;
RESET semantic.threads;

-- Parallel plans give the same.
CREATE TABLE embed_parallel AS SELECT n, 'text number ' || n AS content FROM generate_series(1, 200) AS n;
SET parallel_setup_cost = 0;
SET min_parallel_table_scan_size = 0;
ALTER TABLE embed_parallel SET (parallel_workers = 2);
EXPLAIN (COSTS OFF) SELECT sum(cardinality(semantic_embed(content))) FROM embed_parallel;
SELECT sum(cardinality(semantic_embed(content))) / 200 AS dimensions FROM embed_parallel;
RESET parallel_setup_cost;
RESET min_parallel_table_scan_size;
DROP TABLE embed_parallel;
