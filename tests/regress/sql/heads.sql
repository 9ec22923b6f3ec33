-- Ranking and reading without a model that could: the message, and the SQLSTATE
-- after it.  What the functions give is in the TAP tests, with real heads.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_semantic;
RESET client_min_messages;

-- No model named, none set.
SELECT * FROM semantic_rerank('query', ARRAY['a', 'b']);
\echo :LAST_ERROR_SQLSTATE
SELECT semantic_score('query', 'document');
\echo :LAST_ERROR_SQLSTATE
SET semantic.rerank_model = 'no such model';
SELECT semantic_score('query', 'document');
\echo :LAST_ERROR_SQLSTATE
SET semantic.rerank_model = 'default';
SELECT semantic_score('query', 'document');
\echo :LAST_ERROR_SQLSTATE
RESET semantic.rerank_model;

-- A model without a head.
SELECT * FROM semantic_rerank('query', ARRAY['a', 'b'], 'default');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM semantic_classify('content', 'default');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM semantic_zero_shot('content', ARRAY['a', 'b'], 'default');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM semantic_choose('prompt', ARRAY['a', 'b'], 'default');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM semantic_entities('content', 'default');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM semantic_answer('question', 'context', 'default');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM semantic_fill_mask('a [MASK]', 'default');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM semantic_fill_mask('a [MASK]', 'no such model');
\echo :LAST_ERROR_SQLSTATE

-- NULL in, NULL or nothing out, before any model is looked for.
SELECT semantic_score(NULL, 'document', 'no such model'), semantic_score('query', NULL, 'no such model');
SELECT * FROM semantic_rerank(NULL, ARRAY['a'], 'no such model');
SELECT * FROM semantic_rerank('query', NULL, 'no such model');
SELECT * FROM semantic_classify(NULL, 'no such model');
SELECT * FROM semantic_zero_shot('content', NULL, 'no such model');
SELECT * FROM semantic_choose(NULL, ARRAY['a'], 'no such model');
SELECT * FROM semantic_entities(NULL, 'no such model');
SELECT * FROM semantic_answer('question', NULL, 'no such model');
SELECT * FROM semantic_fill_mask(NULL, 'no such model');

-- The planner knows what they cost and that workers may run them.
SELECT proname, provolatile, proparallel, procost >= 200000 AS expensive
FROM pg_proc
WHERE proname IN ('semantic_rerank', 'semantic_score', 'semantic_classify', 'semantic_zero_shot', 'semantic_choose',
                  'semantic_entities', 'semantic_answer', 'semantic_fill_mask', 'semantic_search')
ORDER BY proname;
