-- Sparse embeddings and late interaction with the model that is shipped: the
-- message, and the SQLSTATE after it.  What models made for them give is in the
-- TAP tests.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_semantic;
RESET client_min_messages;

-- A model without a masked-LM head has no sparse embeddings.
SELECT * FROM semantic_sparse_embed('content');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM semantic_sparse_embed('content', 'no such model');
\echo :LAST_ERROR_SQLSTATE
SELECT semantic_late_interaction('query', 'document', 'no such model');
\echo :LAST_ERROR_SQLSTATE

-- NULL in, NULL or nothing out, before any model is looked for.
SELECT * FROM semantic_sparse_embed(NULL, 'no such model');
SELECT semantic_late_interaction(NULL, 'document', 'no such model') IS NULL AS null_query,
       semantic_late_interaction('query', NULL, 'no such model') IS NULL AS null_document;

-- A sentence encoder compares all tokens: [CLS], "a", "cat" and [SEP] each find themselves.
SELECT round(semantic_late_interaction('a cat', 'a cat')::numeric, 4) AS tokens_of_the_query;
SELECT semantic_late_interaction('how to reset a password', 'resetting passwords of an account')
       > semantic_late_interaction('how to reset a password', 'bread in a hot oven') AS closer;
-- From the definition: the token embeddings, of length 1, and the greatest product for each of the query's.
CREATE FUNCTION pg_temp.unit_tokens(content text) RETURNS TABLE(ordinal int, unit real[]) LANGUAGE sql AS $$
    SELECT ordinal, (SELECT array_agg(x / sqrt(squares) ORDER BY i)
                     FROM unnest(embedding) WITH ORDINALITY AS elements(x, i),
                          (SELECT sum(y::float8 ^ 2) AS squares FROM unnest(embedding) AS y) AS total)
    FROM semantic_token_embeddings(content) $$;
SELECT abs(sum(greatest) - semantic_late_interaction('lost my key', 'Where is the key? It is gone.')) < 1e-4 AS by_definition
FROM (SELECT max(-(query.unit <#> document.unit)) AS greatest
      FROM pg_temp.unit_tokens('lost my key') AS query, pg_temp.unit_tokens('Where is the key? It is gone.') AS document
      GROUP BY query.ordinal) AS tokens;
SELECT semantic_late_interaction('', '') > 0 AS empty_texts,
       semantic_late_interaction('key', repeat('word ', 5000)) = semantic_late_interaction('key', repeat('word ', 6000)) AS cut;

-- The planner knows what they cost and that workers may run them.
SELECT proname, provolatile, proparallel, proisstrict, procost >= 200000 AS expensive
FROM pg_proc WHERE proname IN ('semantic_sparse_embed', 'semantic_late_interaction') ORDER BY proname;
