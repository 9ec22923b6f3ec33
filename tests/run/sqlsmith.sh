#!/usr/bin/env bash
# Random SQL against the extension: `sqlsmith.sh [SECONDS]`, by default half an
# hour.  sqlsmith (Debian package sqlsmith) makes queries of what the catalogs of a
# temporary server show it: the extension's functions, wrappers around
# those that return sets, and tables with semantic indexes.  Fails where a process
# of the server died or an internal error (XX000) was raised; which
# statement that was stands in build/check/sqlsmith/server.log.
# SQLSMITH_SEED repeats sqlsmith's choices.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

command -v sqlsmith >/dev/null || die "there is no sqlsmith here; as root, run: apt-get install sqlsmith"
seconds=${1:-1800}

make_scratch
server=$scratch/server
mkdir "$server"
if is_root; then chown postgres "$server"; fi
start_server "$server" "log_line_prefix = '%m [%p] %e '" "log_error_verbosity = verbose" "fsync = off" "max_connections = 20" \
  "log_min_messages = error"

query -d postgres -f "$repository/tests/tap/fuzz_objects.sql"
# sqlsmith reads "pg_proc" unqualified: a view of that name, first in the path,
# keeps its choices to the functions that are to be tested.
query -d postgres <<'SQL'
CREATE SCHEMA wrappers;
DO $$
DECLARE
    f record;
BEGIN
    FOR f IN
        SELECT p.oid::regproc AS name, p.proname, p.pronargs,
               (SELECT string_agg(format_type(t, NULL), ', ' ORDER BY n) FROM unnest(p.proargtypes) WITH ORDINALITY AS a(t, n)) AS arguments
        FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_semantic'
        WHERE p.proretset
    LOOP
        EXECUTE format('CREATE FUNCTION wrappers.%I(%s) RETURNS text LANGUAGE sql AS $f$ SELECT string_agg(r::text, '','') FROM %s(%s) AS r $f$',
            f.proname, f.arguments, f.name, (SELECT string_agg('$' || i, ', ') FROM generate_series(1, f.pronargs) AS i));
    END LOOP;
END $$;
CREATE FUNCTION wrappers.nearest(q semantic_query, n int) RETURNS text LANGUAGE sql
    AS 'SELECT string_agg(id::text, '','') FROM (SELECT id FROM fuzz.docs ORDER BY body <=> q LIMIT greatest(n, 0)) r';
CREATE FUNCTION wrappers.nearest(v real[], n int) RETURNS text LANGUAGE sql
    AS 'SELECT string_agg(id::text, '','') FROM (SELECT id FROM fuzz.docs WHERE flag ORDER BY vector <-> v LIMIT greatest(n, 0)) r';
CREATE SCHEMA shown;
CREATE VIEW shown.pg_proc AS
SELECT p.* FROM pg_catalog.pg_proc p
WHERE (p.pronamespace = 'wrappers'::regnamespace OR p.proname ~ '^semantic_'
       OR p.oid IN ('lower(text)'::regprocedure, 'random()'::regprocedure, 'repeat(text, int)'::regprocedure,
                    'max(text)'::regprocedure, 'max(int)'::regprocedure, 'avg(float8)'::regprocedure))
  AND p.proname NOT IN ('semantic_enable_pgvector', 'semantic_index_handler');
CREATE ROLE fuzzer LOGIN;
ALTER ROLE fuzzer SET statement_timeout = '5s';
GRANT USAGE ON SCHEMA fuzz, wrappers, shown TO fuzzer;
GRANT ALL ON ALL TABLES IN SCHEMA fuzz TO fuzzer;
GRANT SELECT ON shown.pg_proc TO fuzzer;
SQL

say "sqlsmith for $seconds s"
target="host=$PGHOST port=$PGPORT user=fuzzer dbname=postgres options='-c search_path=shown,pg_catalog,public'"
status=0
end=$((SECONDS + seconds))
rounds=0
# sqlsmith itself dies now and then; then the next one goes on.
while [ $SECONDS -lt $end ]; do
  as_server_user nice -n 15 timeout $((end - SECONDS + 1)) sqlsmith --target="$target" --exclude-catalog --verbose \
    --seed=$((${SQLSMITH_SEED:-$$} + rounds)) >>"$server/sqlsmith.log" 2>&1 || true
  rounds=$((rounds + 1))
  sleep 1
done

log=$server/server.log
query -d postgres -c "SELECT count(*) FROM semantic_indexes" >/dev/null || { say "not ok: the server does not answer any more"; status=1; }
for index in docs_body docs_short docs_upper docs_cosine docs_l2 docs_ip parts_low_body_idx parts_high_body_idx unlogged_vector; do
  problems=$(query -d postgres -At -c "SELECT problem, ctid FROM semantic_index_check('fuzz.$index') LIMIT 5")
  [ -z "$problems" ] || { say "not ok: index $index: $problems"; status=1; }
done
stop_server "$server"
say "sqlsmith ran $rounds times; the server's log, by SQLSTATE:"
grep -oE '\] [0-9A-Z]{5} (ERROR|FATAL|PANIC|WARNING|LOG):' "$log" | awk '{ print $2, $3 }' | sort | uniq -c | sort -rn || true
say "queries that sqlsmith sent, and their errors:"
grep -aE '^queries:' "$server/sqlsmith.log" | tail -n 3 || true
if grep -nE 'PANIC|TRAP:|was terminated by signal|server process .* exited with' "$log"; then
  say "not ok: a process of the server died"
  status=1
fi
if grep -nE '\] XX[0-9A-Z]{3} ' "$log" | grep -E 'ERROR|FATAL|WARNING' | cut -c1-300 | sort -k5 -u | head -n 20 | grep .; then
  say "not ok: internal errors"
  status=1
fi
mkdir -p "$repository/$BUILD/check/sqlsmith"
cp "$log" "$server/sqlsmith.log" "$repository/$BUILD/check/sqlsmith/"
[ "$status" = 0 ] && say "ok: sqlsmith found nothing"
exit "$status"
