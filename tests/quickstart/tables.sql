-- The quickstart's text: what PostgreSQL says of its functions and what Debian
-- says of its packages (filled by packages.pl).

CREATE TABLE functions (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL,
    description text NOT NULL
);

INSERT INTO functions (name, description)
SELECT p.oid::regprocedure::text, d.description
FROM pg_proc p
JOIN pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass AND d.objsubid = 0
ORDER BY p.oid;

CREATE TABLE packages (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL,
    section     text NOT NULL,
    description text NOT NULL
);
