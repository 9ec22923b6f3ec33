-- The SQL objects of pg_semantic 1.0.
--
-- Functions that depend on a model or a setting are STABLE.  Those with a
-- default of NULL (model, prompt) cannot be STRICT and answer NULL content
-- themselves.  COST is in units of cpu_operator_cost: an embedding takes
-- milliseconds, so the planner never evaluates one per row where an index would do.

\echo Use "CREATE EXTENSION pg_semantic" to load this file. \quit

-- Models ------------------------------------------------------------------------

-- Names are compared byte by byte, whatever the database's collation.
CREATE TABLE semantic_model_catalog (
    name text COLLATE "C" NOT NULL,
    architecture text COLLATE "C" NOT NULL,
    task text COLLATE "C" NOT NULL,
    dimensions integer NOT NULL,
    max_tokens integer NOT NULL,
    vocabulary_size integer NOT NULL,
    layers integer NOT NULL,
    parameters bigint NOT NULL,
    pooling text COLLATE "C" NOT NULL,
    normalized boolean NOT NULL,
    model_precision text COLLATE "C" NOT NULL,
    bytes bigint NOT NULL,
    labels text[],
    fingerprint text COLLATE "C" NOT NULL,
    file_sha256 text COLLATE "C" NOT NULL,
    file_version integer NOT NULL,
    shipped boolean NOT NULL,
    CONSTRAINT semantic_model_catalog_pkey PRIMARY KEY (name)
);
COMMENT ON TABLE semantic_model_catalog IS
'Models by name. Written by semantic_load_model() and semantic_drop_model(); read it through the view semantic_models. Rows with shipped = true came with the extension and are not dumped.';

CREATE TABLE semantic_model_parts (
    fingerprint text COLLATE "C" NOT NULL,
    file_version integer NOT NULL,
    shipped boolean NOT NULL,
    part integer NOT NULL,
    data bytea NOT NULL,
    CONSTRAINT semantic_model_parts_pkey PRIMARY KEY (fingerprint, file_version, shipped, part)
);
ALTER TABLE semantic_model_parts ALTER COLUMN data SET STORAGE EXTERNAL;
COMMENT ON TABLE semantic_model_parts IS
'Model files in parts of 1 MB, numbered from 0, uncompressed. A server that lacks a file under pg_semantic/models makes it from these rows. Models with one fingerprint share them.';

REVOKE ALL ON semantic_model_catalog, semantic_model_parts FROM PUBLIC;

-- A dump carries what was loaded; CREATE EXTENSION brings what is shipped.
SELECT pg_catalog.pg_extension_config_dump('semantic_model_catalog', 'WHERE NOT shipped');
SELECT pg_catalog.pg_extension_config_dump('semantic_model_parts', 'WHERE NOT shipped');

CREATE FUNCTION semantic_models_changed() RETURNS trigger
    AS 'MODULE_PATHNAME', 'pg_semantic_models_changed' LANGUAGE C;
COMMENT ON FUNCTION semantic_models_changed() IS
'Trigger of semantic_model_catalog: makes every session look models up again, after a restore for example.';

CREATE TRIGGER semantic_models_changed
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON semantic_model_catalog
    FOR EACH STATEMENT EXECUTE FUNCTION semantic_models_changed();
ALTER TABLE semantic_model_catalog ENABLE ALWAYS TRIGGER semantic_models_changed;
COMMENT ON TRIGGER semantic_models_changed ON semantic_model_catalog IS
'Makes every session look models up again.';

CREATE VIEW semantic_models AS
    SELECT name, architecture, task, dimensions, max_tokens, vocabulary_size, layers, parameters, pooling,
           normalized, model_precision, bytes, labels, fingerprint
    FROM semantic_model_catalog;
GRANT SELECT ON semantic_models TO PUBLIC;
COMMENT ON VIEW semantic_models IS 'The models of this database.';
COMMENT ON COLUMN semantic_models.name IS 'What functions, settings and index options call it.';
COMMENT ON COLUMN semantic_models.architecture IS 'As config.json names it.';
COMMENT ON COLUMN semantic_models.task IS
'embedding, sequence-classification, token-classification, question-answering, fill-mask or multiple-choice.';
COMMENT ON COLUMN semantic_models.dimensions IS 'Elements of a sentence embedding.';
COMMENT ON COLUMN semantic_models.max_tokens IS 'Tokens it reads of a text, special tokens included; the rest is cut.';
COMMENT ON COLUMN semantic_models.vocabulary_size IS 'Tokens it knows.';
COMMENT ON COLUMN semantic_models.layers IS 'Transformer layers.';
COMMENT ON COLUMN semantic_models.parameters IS 'Elements of the tensors it uses.';
COMMENT ON COLUMN semantic_models.pooling IS 'How token states become one vector: mean, cls, max, mean_sqrt_len, joined by +.';
COMMENT ON COLUMN semantic_models.normalized IS 'Whether its embeddings have length 1.';
COMMENT ON COLUMN semantic_models.model_precision IS 'fp32: as published. fp16: weights in half precision, arithmetic in single. int8: the transformer''s linear layers in 8 bits, each token''s inputs quantised as they come; everything else as in fp16.';
COMMENT ON COLUMN semantic_models.bytes IS 'Size of its file, of which a server maps one copy for all sessions.';
COMMENT ON COLUMN semantic_models.labels IS 'Labels of its head, in the order of their ids; NULL: it has none.';
COMMENT ON COLUMN semantic_models.fingerprint IS
'SHA-256 of configuration, tokenizer and tensors as loaded, in hexadecimal.';

CREATE FUNCTION semantic_load_model(name text, path text, model_precision text DEFAULT 'fp32') RETURNS void
    AS 'MODULE_PATHNAME', 'pg_semantic_load_model' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000000;
COMMENT ON FUNCTION semantic_load_model(text, text, text) IS
'Checks a Hugging Face directory on the server whole, stores it in the database and makes it usable in every session once the transaction commits. model_precision is fp32; fp16, weights in half precision; or int8, the transformer''s linear layers in 8 bits (dynamic quantisation). Only for a superuser or a member of pg_read_server_files (42501). Errors: 42710 the name exists; 58P01 no such directory or file; 22000 a file is damaged; 0A000 an architecture that is not supported, or a weight beyond half precision; 22023 there is no such model_precision.';

CREATE FUNCTION semantic_drop_model(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'pg_semantic_drop_model' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION semantic_drop_model(text) IS
'Removes a model from the database. Only for a superuser or a member of pg_read_server_files (42501). Errors: 42704 no such model; 2BP01 an index uses it, or it is shipped with the extension, as the model default is. The server keeps the file it had mapped; removing pg_semantic/models/*.model of a stopped server is safe, files in use are made again.';

-- Text to vectors ------------------------------------------------------------------

CREATE FUNCTION semantic_embed(content text, model text DEFAULT NULL, prompt text DEFAULT NULL) RETURNS real[]
    AS 'MODULE_PATHNAME', 'pg_semantic_embed' LANGUAGE C STABLE PARALLEL SAFE COST 200000;
COMMENT ON FUNCTION semantic_embed(text, text, text) IS
'Sentence embedding with the model''s own pooling and normalisation. model: NULL means the setting semantic.model. prompt: the name of one of the model''s prompts, else a prefix taken literally; NULL means the model''s default prompt. Text past max_tokens is cut. NULL content gives NULL. Errors: 42704 unknown model.';

CREATE FUNCTION semantic_embed_batch(
    contents text[], model text DEFAULT NULL, prompt text DEFAULT NULL, dimensions integer DEFAULT NULL
) RETURNS TABLE(ordinal integer, embedding real[])
    AS 'MODULE_PATHNAME', 'pg_semantic_embed_batch' LANGUAGE C STABLE PARALLEL SAFE COST 10000000 ROWS 100;
COMMENT ON FUNCTION semantic_embed_batch(text[], text, text, integer) IS
'What semantic_embed() gives for each element, faster. ordinal counts from 1 in the order of the array; NULL elements give NULL embeddings. dimensions: so many leading numbers of each, not normalised again; NULL means all. Errors: 22023 dimensions not between 1 and the model''s; 42704 unknown model.';

CREATE FUNCTION semantic_token_embeddings(content text, model text DEFAULT NULL)
    RETURNS TABLE(ordinal integer, token text, embedding real[])
    AS 'MODULE_PATHNAME', 'pg_semantic_token_embeddings' LANGUAGE C STABLE PARALLEL SAFE COST 200000 ROWS 100;
COMMENT ON FUNCTION semantic_token_embeddings(text, text) IS
'The last hidden state, one row a token of the text cut at max_tokens, [CLS] and [SEP] included. NULL content gives no rows. Errors: 42704 unknown model.';

CREATE FUNCTION semantic_tokenize(content text, model text DEFAULT NULL)
    RETURNS TABLE(ordinal integer, id integer, token text, char_start integer, char_end integer)
    AS 'MODULE_PATHNAME', 'pg_semantic_tokenize' LANGUAGE C STABLE PARALLEL SAFE COST 1000 ROWS 100;
COMMENT ON FUNCTION semantic_tokenize(text, text) IS
'The tokens of the published tokenizer, [CLS] and [SEP] included, not cut at max_tokens. char_start and char_end count characters of the text from 0, end exclusive; NULL for the added special tokens. NULL content gives no rows. Errors: 42704 unknown model.';

CREATE FUNCTION semantic_count_tokens(content text, model text DEFAULT NULL) RETURNS integer
    AS 'MODULE_PATHNAME', 'pg_semantic_count_tokens' LANGUAGE C STABLE PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION semantic_count_tokens(text, text) IS
'How many rows semantic_tokenize() gives. NULL content gives NULL. Errors: 42704 unknown model.';

CREATE FUNCTION semantic_chunk(content text, max_tokens integer DEFAULT 128, overlap integer DEFAULT 16,
                               model text DEFAULT NULL)
    RETURNS TABLE(ordinal integer, chunk text, char_start integer, char_end integer, tokens integer)
    AS 'MODULE_PATHNAME', 'pg_semantic_chunk' LANGUAGE C STABLE PARALLEL SAFE COST 2000 ROWS 20;
COMMENT ON FUNCTION semantic_chunk(text, integer, integer, text) IS
'Cuts a text into substrings of at most max_tokens tokens, [CLS] and [SEP] counted, at paragraph, then sentence, then word ends; neighbours share about overlap tokens and nothing is lost between them. char_start and char_end count characters from 0, end exclusive. NULL content gives no rows. Errors: 22023 max_tokens below 3 or overlap not below max_tokens - 2; 42704 unknown model.';

CREATE FUNCTION semantic_similarity(a text, b text, model text DEFAULT NULL) RETURNS real
    AS 'MODULE_PATHNAME', 'pg_semantic_similarity' LANGUAGE C STABLE PARALLEL SAFE COST 400000;
COMMENT ON FUNCTION semantic_similarity(text, text, text) IS
'Cosine of the two embeddings, from -1 to 1. NULL if a or b is. Errors: 42704 unknown model.';

CREATE FUNCTION semantic_sparse_embed(content text, model text DEFAULT NULL) RETURNS TABLE(token text, weight real)
    AS 'MODULE_PATHNAME', 'pg_semantic_sparse_embed' LANGUAGE C STABLE PARALLEL SAFE COST 400000 ROWS 100;
COMMENT ON FUNCTION semantic_sparse_embed(text, text) IS
'Sparse embedding by a model with a masked-LM head (SPLADE): the entries of its vocabulary with a weight above 0 in the text cut at max_tokens, greatest first. NULL content gives no rows. Errors: 42704 unknown model; 0A000 no head for fill-mask.';

CREATE FUNCTION semantic_late_interaction(query text, document text, model text DEFAULT NULL) RETURNS real
    AS 'MODULE_PATHNAME', 'pg_semantic_late_interaction' LANGUAGE C STABLE PARALLEL SAFE COST 400000;
COMMENT ON FUNCTION semantic_late_interaction(text, text, text) IS
'How relevant the document is to the query by late interaction (ColBERT''s MaxSim): the sum over the query''s tokens of the greatest similarity with a token of the document. Models made for it mark, pad and cut the texts as their publisher does; any other model compares all tokens of both. NULL if query or document is. Errors: 42704 unknown model; 22023 the model leaves out every token of the document.';

-- Rank and read -----------------------------------------------------------------------

CREATE FUNCTION semantic_rerank(
    query text, documents text[], model text DEFAULT NULL, top_k integer DEFAULT NULL
) RETURNS TABLE(ordinal integer, score real, document text)
    AS 'MODULE_PATHNAME', 'pg_semantic_rerank' LANGUAGE C STABLE PARALLEL SAFE COST 10000000 ROWS 10;
COMMENT ON FUNCTION semantic_rerank(text, text[], text, integer) IS
'The documents in the order of their relevance to the query by a cross-encoder (NULL: of the setting semantic.rerank_model), best first, top_k of them or all. ordinal counts from 1 in the array; score as the model''s publisher defines it; NULL documents come last, without a score. NULL query or documents give no rows. Errors: 22023 no model named and none set, top_k < 1; 42704 unknown model; 0A000 not a classifier with one label.';

CREATE FUNCTION semantic_score(query text, document text, model text DEFAULT NULL) RETURNS real
    AS 'MODULE_PATHNAME', 'pg_semantic_score' LANGUAGE C STABLE PARALLEL SAFE COST 400000;
COMMENT ON FUNCTION semantic_score(text, text, text) IS
'The score that semantic_rerank() gives the document. NULL if query or document is. Errors: as semantic_rerank().';

CREATE FUNCTION semantic_classify(content text, model text, pair text DEFAULT NULL)
    RETURNS TABLE(label text, score real)
    AS 'MODULE_PATHNAME', 'pg_semantic_classify' LANGUAGE C STABLE PARALLEL SAFE COST 200000 ROWS 5;
COMMENT ON FUNCTION semantic_classify(text, text, text) IS
'Every label of a sequence classifier with its score for the text, or for the text and its pair, best first: softmax over the labels, or a sigmoid for each where there is one label or a text may have several. NULL content gives no rows. Errors: 42704 unknown model; 0A000 no head for sequence-classification.';

CREATE FUNCTION semantic_zero_shot(
    content text, labels text[], model text, template text DEFAULT 'This example is {}.', multi_label boolean DEFAULT false
) RETURNS TABLE(label text, score real)
    AS 'MODULE_PATHNAME', 'pg_semantic_zero_shot' LANGUAGE C STABLE PARALLEL SAFE COST 1000000 ROWS 5;
COMMENT ON FUNCTION semantic_zero_shot(text, text[], text, text, boolean) IS
'How well each label fits the text by a classifier of natural language inference, best first. template makes a sentence of a label, which stands for {}; multi_label: each label by itself, else the scores add up to 1. NULL content or labels give no rows. Errors: 22023 template without {}, a label that leaves no room for the text; 22004 NULL label or option; 42704 unknown model; 0A000 no head for sequence-classification, no label "entailment".';

CREATE FUNCTION semantic_choose(prompt text, choices text[], model text)
    RETURNS TABLE(ordinal integer, choice text, score real)
    AS 'MODULE_PATHNAME', 'pg_semantic_choose' LANGUAGE C STABLE PARALLEL SAFE COST 1000000 ROWS 5;
COMMENT ON FUNCTION semantic_choose(text, text[], text) IS
'The choices with their probability after the prompt, best first; ordinal counts from 1 in the array. NULL prompt or choices give no rows. Errors: 22004 NULL choice; 42704 unknown model; 0A000 no head for multiple-choice.';

CREATE FUNCTION semantic_entities(content text, model text, aggregation text DEFAULT 'simple')
    RETURNS TABLE(entity text, score real, word text, char_start integer, char_end integer)
    AS 'MODULE_PATHNAME', 'pg_semantic_entities' LANGUAGE C STABLE PARALLEL SAFE COST 200000 ROWS 10;
COMMENT ON FUNCTION semantic_entities(text, text, text) IS
'The named parts of the text, cut at max_tokens, in its order; what is labelled O is left out. aggregation: none (tokens), simple (adjacent tokens of one tag), first, average, max (how the tokens of a word decide on its label). char_start and char_end count characters from 0, end exclusive. NULL content gives no rows. Errors: 22023 unknown aggregation; 42704 unknown model; 0A000 no head for token-classification.';

CREATE FUNCTION semantic_answer(
    question text, context text, model text, top_k integer DEFAULT 1, max_answer_tokens integer DEFAULT 15
) RETURNS TABLE(answer text, score real, char_start integer, char_end integer)
    AS 'MODULE_PATHNAME', 'pg_semantic_answer' LANGUAGE C STABLE PARALLEL SAFE COST 1000000 ROWS 1;
COMMENT ON FUNCTION semantic_answer(text, text, text, integer, integer) IS
'The likeliest answers to the question, parts of the context, best first; a long context is read in windows that overlap. char_start and char_end count characters of the context from 0, end exclusive. NULL question or context gives no rows. Errors: 22023 top_k or max_answer_tokens < 1, a question that leaves no room for the context; 42704 unknown model; 0A000 no head for question-answering.';

CREATE FUNCTION semantic_fill_mask(content text, model text, top_k integer DEFAULT 5)
    RETURNS TABLE(token text, score real, content text)
    AS 'MODULE_PATHNAME', 'pg_semantic_fill_mask' LANGUAGE C STABLE PARALLEL SAFE COST 400000 ROWS 5;
COMMENT ON FUNCTION semantic_fill_mask(text, text, integer) IS
'The likeliest tokens in place of [MASK], best first, and the text with each, as the model''s tokenizer writes it. NULL content gives no rows. Errors: 22023 no [MASK] or more than one, or beyond max_tokens, top_k < 1; 42704 unknown model; 0A000 no head for fill-mask.';

-- The type of queries ---------------------------------------------------------------

CREATE TYPE semantic_query;

CREATE FUNCTION semantic_query_in(cstring) RETURNS semantic_query
    AS 'MODULE_PATHNAME', 'pg_semantic_query_in' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 200000;
COMMENT ON FUNCTION semantic_query_in(cstring) IS 'I/O: embeds the text with the model of the setting semantic.model.';
CREATE FUNCTION semantic_query_out(semantic_query) RETURNS cstring
    AS 'MODULE_PATHNAME', 'pg_semantic_query_out' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION semantic_query_out(semantic_query) IS 'I/O: the query''s text; of a ready vector, the array.';
CREATE FUNCTION semantic_query_recv(internal) RETURNS semantic_query
    AS 'MODULE_PATHNAME', 'pg_semantic_query_recv' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 200000;
COMMENT ON FUNCTION semantic_query_recv(internal) IS 'I/O: the text, as semantic_query_in().';
CREATE FUNCTION semantic_query_send(semantic_query) RETURNS bytea
    AS 'MODULE_PATHNAME', 'pg_semantic_query_send' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION semantic_query_send(semantic_query) IS 'I/O: the text, as semantic_query_out().';

CREATE TYPE semantic_query (
    INPUT = semantic_query_in,
    OUTPUT = semantic_query_out,
    RECEIVE = semantic_query_recv,
    SEND = semantic_query_send,
    INTERNALLENGTH = VARIABLE,
    ALIGNMENT = int4,
    STORAGE = extended
);
COMMENT ON TYPE semantic_query IS
'A query text, its model and its embedding, computed once. A literal is embedded with the model of the setting semantic.model.';

CREATE FUNCTION semantic_query(content text, model text DEFAULT NULL, prompt text DEFAULT NULL) RETURNS semantic_query
    AS 'MODULE_PATHNAME', 'pg_semantic_query_make' LANGUAGE C STABLE PARALLEL SAFE COST 200000;
COMMENT ON FUNCTION semantic_query(text, text, text) IS
'A query of a text, embedded as semantic_embed() does it with the same arguments. NULL content gives NULL. Errors: 42704 unknown model.';

CREATE FUNCTION semantic_query(embedding real[], model text DEFAULT NULL) RETURNS semantic_query
    AS 'MODULE_PATHNAME', 'pg_semantic_query_from_vector' LANGUAGE C STABLE PARALLEL SAFE COST 100;
COMMENT ON FUNCTION semantic_query(real[], text) IS
'A query of a ready embedding of the model (NULL: of the setting''s). NULL embedding gives NULL. Errors: 22000 not as many dimensions as the model has, NaN or infinity; 22004 NULL elements; 42704 unknown model.';

CREATE FUNCTION semantic_query_from_text(content text) RETURNS semantic_query
    AS 'MODULE_PATHNAME', 'pg_semantic_query_from_text' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 200000;
COMMENT ON FUNCTION semantic_query_from_text(text) IS
'The implicit casts from text and varchar: a query with the model of the setting semantic.model.';

CREATE CAST (text AS semantic_query) WITH FUNCTION semantic_query_from_text(text) AS IMPLICIT;
COMMENT ON CAST (text AS semantic_query) IS 'Embeds the text with the model of the setting semantic.model.';
CREATE CAST (varchar AS semantic_query) WITH FUNCTION semantic_query_from_text(text) AS IMPLICIT;
COMMENT ON CAST (varchar AS semantic_query) IS 'Embeds the text with the model of the setting semantic.model.';

-- Operators ---------------------------------------------------------------------------

CREATE FUNCTION semantic_text_distance(content text, query semantic_query) RETURNS double precision
    AS 'MODULE_PATHNAME', 'pg_semantic_text_distance' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 200000;
COMMENT ON FUNCTION semantic_text_distance(text, semantic_query) IS
'Cosine distance, from 0 to 2, between the embedding of the text with the query''s model and the query''s. Errors: 42704 the query''s model is gone.';

CREATE OPERATOR <=> (LEFTARG = text, RIGHTARG = semantic_query, FUNCTION = semantic_text_distance);
COMMENT ON OPERATOR <=> (text, semantic_query) IS 'cosine distance between the embedding of the text and the query''s';

CREATE FUNCTION semantic_cosine_distance(a real[], b real[]) RETURNS double precision
    AS 'MODULE_PATHNAME', 'pg_semantic_cosine_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION semantic_cosine_distance(real[], real[]) IS
'1 - cosine, from 0 to 2; NaN when a vector is zero. Errors: 22000 different or no dimensions, NaN or infinity; 22004 NULL elements.';
CREATE OPERATOR <=> (
    LEFTARG = real[], RIGHTARG = real[], FUNCTION = semantic_cosine_distance, COMMUTATOR = <=>
);
COMMENT ON OPERATOR <=> (real[], real[]) IS 'cosine distance';

CREATE FUNCTION semantic_l2_distance(a real[], b real[]) RETURNS double precision
    AS 'MODULE_PATHNAME', 'pg_semantic_l2_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION semantic_l2_distance(real[], real[]) IS
'Euclidean distance. Errors: 22000 different or no dimensions, NaN or infinity; 22004 NULL elements.';
CREATE OPERATOR <-> (
    LEFTARG = real[], RIGHTARG = real[], FUNCTION = semantic_l2_distance, COMMUTATOR = <->
);
COMMENT ON OPERATOR <-> (real[], real[]) IS 'Euclidean distance';

CREATE FUNCTION semantic_negative_inner_product(a real[], b real[]) RETURNS double precision
    AS 'MODULE_PATHNAME', 'pg_semantic_negative_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION semantic_negative_inner_product(real[], real[]) IS
'The inner product times -1, so that the nearest come first in ascending order. Errors: 22000 different or no dimensions, NaN or infinity; 22004 NULL elements.';
CREATE OPERATOR <#> (
    LEFTARG = real[], RIGHTARG = real[], FUNCTION = semantic_negative_inner_product, COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (real[], real[]) IS 'negative inner product';

-- The model "default" -------------------------------------------------------------------

CREATE FUNCTION semantic_load_shipped_model(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'pg_semantic_load_shipped_model' LANGUAGE C VOLATILE;
SELECT semantic_load_shipped_model('default');
DROP FUNCTION semantic_load_shipped_model(text);

-- Access method and index functions ------------------------------------------------------

CREATE FUNCTION semantic_index_handler(internal) RETURNS index_am_handler
    AS 'MODULE_PATHNAME', 'pg_semantic_index_handler' LANGUAGE C STRICT;
COMMENT ON FUNCTION semantic_index_handler(internal) IS 'Handler of the access method "semantic".';
CREATE ACCESS METHOD semantic TYPE INDEX HANDLER semantic_index_handler;
COMMENT ON ACCESS METHOD semantic IS
'Nearest rows by meaning or by vector: ORDER BY a distance. Needs pg_semantic in shared_preload_libraries.';

-- What an operator class indexes and how it measures.
CREATE FUNCTION semantic_opclass_text() RETURNS integer
    AS 'MODULE_PATHNAME', 'pg_semantic_opclass_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION semantic_opclass_text() IS 'Support function 1 of semantic_text_ops: text to embed, cosine distance.';
CREATE FUNCTION semantic_opclass_real_cosine() RETURNS integer
    AS 'MODULE_PATHNAME', 'pg_semantic_opclass_real_cosine' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION semantic_opclass_real_cosine() IS 'Support function 1 of real_cosine_ops: vectors, cosine distance.';
CREATE FUNCTION semantic_opclass_real_l2() RETURNS integer
    AS 'MODULE_PATHNAME', 'pg_semantic_opclass_real_l2' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION semantic_opclass_real_l2() IS 'Support function 1 of real_l2_ops: vectors, Euclidean distance.';
CREATE FUNCTION semantic_opclass_real_ip() RETURNS integer
    AS 'MODULE_PATHNAME', 'pg_semantic_opclass_real_ip' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION semantic_opclass_real_ip() IS 'Support function 1 of real_ip_ops: vectors, negative inner product.';

CREATE OPERATOR CLASS semantic_text_ops DEFAULT FOR TYPE text USING semantic AS
    OPERATOR 1 <=> (text, semantic_query) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 semantic_opclass_text();
COMMENT ON OPERATOR CLASS semantic_text_ops USING semantic IS
'text and varchar: embedded with the index''s model, nearest by cosine distance.';
CREATE OPERATOR CLASS real_cosine_ops DEFAULT FOR TYPE real[] USING semantic AS
    OPERATOR 1 <=> (real[], real[]) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 semantic_opclass_real_cosine();
COMMENT ON OPERATOR CLASS real_cosine_ops USING semantic IS 'Vectors by cosine distance (<=>).';
CREATE OPERATOR CLASS real_l2_ops FOR TYPE real[] USING semantic AS
    OPERATOR 1 <-> (real[], real[]) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 semantic_opclass_real_l2();
COMMENT ON OPERATOR CLASS real_l2_ops USING semantic IS 'Vectors by Euclidean distance (<->).';
CREATE OPERATOR CLASS real_ip_ops FOR TYPE real[] USING semantic AS
    OPERATOR 1 <#> (real[], real[]) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 semantic_opclass_real_ip();
COMMENT ON OPERATOR CLASS real_ip_ops USING semantic IS 'Vectors by negative inner product (<#>).';

CREATE FUNCTION semantic_index_statistics(
    index oid, OUT model text, OUT dimensions integer, OUT metric text, OUT codec text, OUT vectors bigint,
    OUT pending bigint, OUT lists integer, OUT bytes bigint, OUT memory_bytes bigint, OUT state text,
    OUT disk_reads bigint, OUT disk_read_bytes bigint
) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'pg_semantic_index_statistics' LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 1;
COMMENT ON FUNCTION semantic_index_statistics(oid) IS
'A row of the view semantic_indexes; no row for an index that is gone or another session''s.';

CREATE VIEW semantic_indexes AS
SELECT i.indexrelid::pg_catalog.regclass AS index,
       i.indrelid::pg_catalog.regclass AS table_name,
       s.model, s.dimensions, s.metric, s.codec, s.vectors, s.pending, s.lists, s.bytes, s.memory_bytes, s.state,
       s.disk_reads, s.disk_read_bytes
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_am a ON a.oid = c.relam
JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
CROSS JOIN LATERAL semantic_index_statistics(c.oid) s
WHERE a.amname = 'semantic' AND c.relkind = 'i';
COMMENT ON VIEW semantic_indexes IS
'The semantic indexes of this database. vectors: rows with a vector, dead ones until VACUUM included; pending: rows of this transaction not sent yet; lists: posting lists; bytes: on disk; memory_bytes: centroids in the worker; state: ready, building, invalid (a failed CREATE INDEX CONCURRENTLY), not preloaded, damaged, behind (the worker''s store has lost a part of it), lost (the store has no data of it; both are repaired when it is next read, or by semantic_index_repair), copied from another database; disk_reads, disk_read_bytes: blocks that searches and writes of the index took from files since the worker started, because the cache of semantic.index_memory did not have them, and their bytes (the operating system may have had them in memory; what VACUUM and semantic_index_check read ahead in one go, flushes and compactions are not in it).';
GRANT SELECT ON semantic_indexes TO PUBLIC;

CREATE FUNCTION semantic_index_recall(index regclass, k integer DEFAULT 10, samples integer DEFAULT 100) RETURNS real
    AS 'MODULE_PATHNAME', 'pg_semantic_index_recall' LANGUAGE C VOLATILE STRICT PARALLEL SAFE COST 1000000;
COMMENT ON FUNCTION semantic_index_recall(regclass, integer, integer) IS
'Share of the k exact nearest neighbours that a scan with the current semantic.recall finds, averaged over sampled vectors of the index, each left out of its own result. NULL: fewer than two vectors. Errors: 22023 k or samples out of range, 42809 not a semantic index, 42501 no SELECT on the table or row security that hides rows of it.';

CREATE FUNCTION semantic_index_check(index regclass) RETURNS TABLE(problem text, ctid tid)
    AS 'MODULE_PATHNAME', 'pg_semantic_index_check' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000000 ROWS 10;
COMMENT ON FUNCTION semantic_index_check(regclass) IS
'Compares index and table; no row means sound. Reads both whole; VACUUM and DDL wait for it, reads and writes do not. The index''s expressions run as the table''s owner. Errors: 42809 not a semantic index, 42501 no SELECT on the table or row security that hides rows of it.';

CREATE FUNCTION semantic_index_repair(index regclass) RETURNS bigint
    AS 'MODULE_PATHNAME', 'pg_semantic_index_repair' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION semantic_index_repair(regclass) IS
'Makes an index hold what its table holds, if the server knows that it does not (state behind or lost in semantic_indexes); returns the number of entries added, replaced and removed. Reads the table whole and embeds only what the index has lost; VACUUM and DDL wait for it, reads and writes do not. A scan of such an index does the same. Errors: 42809 not a semantic index, 42501 not its owner, 55000 on a standby.';

CREATE FUNCTION semantic_search(
    index regclass, query text, k integer DEFAULT 10, rerank_model text DEFAULT NULL, candidates integer DEFAULT 100
) RETURNS TABLE(ctid tid, distance double precision, score real, content text)
    AS 'MODULE_PATHNAME', 'pg_semantic_search' LANGUAGE C STABLE PARALLEL SAFE COST 300000 ROWS 10;
COMMENT ON FUNCTION semantic_search(regclass, text, integer, text, integer) IS
'The k rows nearest to the query, nearest first, as the caller may see them: it is a query of the caller''s own. distance as the index''s operator gives it, of whole embeddings whatever the index''s option dimensions; score = 1 - distance; content is NULL for an index of vectors. With a rerank_model (empty: that of semantic.rerank_model) the best k of the candidates nearest rows by its score, as semantic_rerank() orders them. Errors: 22023 k < 1, candidates < 1, no model for reranking; 42704 unknown model; 42809 not a semantic index; 42501 no SELECT on the table; 0A000 not a reranker, or an index of vectors to rerank.';

-- Other extensions -------------------------------------------------------------------

CREATE FUNCTION semantic_enable_pgvector() RETURNS void
    AS 'MODULE_PATHNAME', 'pg_semantic_enable_pgvector' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION semantic_enable_pgvector() IS
'Creates the operator classes vector_cosine_ops, vector_l2_ops, vector_ip_ops and halfvec_… for USING semantic over pgvector''s types, with pgvector''s operators; those that exist stay. They belong to neither extension, so that dumps carry them. Errors: 42704 extension vector does not exist; 42501 not a superuser.';
