-- Stands in for pgvector where it is not installed: an extension of its name
-- (a catalog row with members, there being no control file) whose types vector and
-- halfvec have pgvector's text form, casts and distance operators.  The types
-- store their text, so nothing that works here can know pgvector's bytes.
-- :schema is where it goes.

INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
SELECT pg_nextoid('pg_extension', 'oid', 'pg_extension_oid_index'), 'vector', oid, :'schema'::regnamespace, true, '0'
FROM pg_roles WHERE rolname = current_user;

SET search_path = :"schema";

SELECT format($ddl$
CREATE TYPE %1$s;
CREATE FUNCTION %1$s_in(cstring) RETURNS %1$s IMMUTABLE STRICT PARALLEL SAFE LANGUAGE internal AS 'textin';
CREATE FUNCTION %1$s_out(%1$s) RETURNS cstring IMMUTABLE STRICT PARALLEL SAFE LANGUAGE internal AS 'textout';
CREATE TYPE %1$s (INPUT = %1$s_in, OUTPUT = %1$s_out, LIKE = text, STORAGE = external);
CREATE FUNCTION %1$s_to_float4(%1$s, integer, boolean) RETURNS real[] IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql
    AS 'SELECT translate($1::text, ''[]'', ''{}'')::real[]';
CREATE FUNCTION array_to_%1$s(real[], integer, boolean) RETURNS %1$s IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql
    AS 'SELECT translate($1::text, ''{}'', ''[]'')::%1$s';
CREATE CAST (%1$s AS real[]) WITH FUNCTION %1$s_to_float4(%1$s, integer, boolean) AS ASSIGNMENT;
CREATE CAST (real[] AS %1$s) WITH FUNCTION array_to_%1$s(real[], integer, boolean) AS ASSIGNMENT;
-- With a setting of its own a function is not inlined, which would take the operator out of the query.
CREATE FUNCTION cosine_distance(a %1$s, b %1$s) RETURNS float8 IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql SET extra_float_digits = 1
    AS 'SELECT 1 - sum(x * y) / nullif(sqrt(sum(x * x)) * sqrt(sum(y * y)), 0)
        FROM unnest(a::real[]::float8[], b::real[]::float8[]) AS v(x, y)';
CREATE FUNCTION l2_distance(a %1$s, b %1$s) RETURNS float8 IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql SET extra_float_digits = 1
    AS 'SELECT sqrt(sum((x - y) ^ 2)) FROM unnest(a::real[]::float8[], b::real[]::float8[]) AS v(x, y)';
CREATE FUNCTION negative_inner_product(a %1$s, b %1$s) RETURNS float8 IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql SET extra_float_digits = 1
    AS 'SELECT -sum(x * y) FROM unnest(a::real[]::float8[], b::real[]::float8[]) AS v(x, y)';
CREATE OPERATOR <=> (LEFTARG = %1$s, RIGHTARG = %1$s, FUNCTION = cosine_distance, COMMUTATOR = '<=>');
CREATE OPERATOR <-> (LEFTARG = %1$s, RIGHTARG = %1$s, FUNCTION = l2_distance, COMMUTATOR = '<->');
CREATE OPERATOR <#> (LEFTARG = %1$s, RIGHTARG = %1$s, FUNCTION = negative_inner_product, COMMUTATOR = '<#>');
$ddl$, type)
FROM unnest(ARRAY['vector', 'halfvec']) AS type \gexec

SELECT format('ALTER EXTENSION vector ADD %s %s', kind, member)
FROM (SELECT 'TYPE', oid::regtype::text FROM pg_type WHERE typname IN ('vector', 'halfvec') AND typnamespace = :'schema'::regnamespace
      UNION ALL
      SELECT 'FUNCTION', oid::regprocedure::text FROM pg_proc
      WHERE pronamespace = :'schema'::regnamespace AND oid::regprocedure::text ~ '(vector|halfvec)'
      UNION ALL
      SELECT 'OPERATOR', oid::regoperator::text FROM pg_operator
      WHERE oprnamespace = :'schema'::regnamespace AND oprleft::regtype::text ~ '(vector|halfvec)$'
      UNION ALL
      SELECT 'CAST', format('(%s AS %s)', castsource::regtype, casttarget::regtype) FROM pg_cast
      WHERE castsource::regtype::text ~ '(vector|halfvec)$' OR casttarget::regtype::text ~ '(vector|halfvec)$') AS members(kind, member)
\gexec
