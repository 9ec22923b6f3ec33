#!/usr/bin/env bash
# make bench-index: the index beside pgvector's hnsw (where PostgreSQL has the
# extension) on one server, on the same vectors: embeddings, by the default model,
# of sentences from the test data beside the repository, or of package descriptions.
# `bench.sh [build|curve|clients|filter|insert|small|wide|million]…` measures only those
# (build comes before all but the last three).  ROWS: how many vectors, default 200000.
# wide: 100,000 vectors of 768 numbers, those of three neighbouring sentences side by
# side; million: 1,000,000 of 256, which takes an hour with pgvector's hnsw.
# Prints a table and writes build/index-….svg; figures and what was learnt: ../RESULTS.md.
source "$(dirname "${BASH_SOURCE[0]}")/../../run/lib.sh"

parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(build curve clients filter insert small wide million)
rows=${ROWS:-200000}
questions=1000  # vectors that are not in the tables
judged=1000     # of them, compared with exact search: a standard deviation of recall is below 0.01 then
seconds=${SECONDS_EACH:-5}

report() { printf '%-66s %12s %s\n' "$1" "$2" "$3"; }
milliseconds() { query -At -c '\timing on' "$@" | awk '/^Time:/ { last = $2 } END { print last }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
has_part() { local part; for part in "${parts[@]}"; do [ "$part" != "$1" ] || return 0; done; return 1; }

# ---- data ------------------------------------------------------------------------

provide_texts() {  # a line each, into texts.txt
  local shared count=$1
  shared=$(realpath -m "${PG_SEMANTIC_SHARED:-$repository/../shared}")/data/train
  if [ -d "$shared" ]; then
    "$repository/tests/bench/sentences.pl" "$count" "$shared"/openstax_paragraphs.txt.gz "$shared"/msdocs_heading_section.tsv.gz \
      "$shared"/medquad_q_a.tsv.gz "$shared"/msdocs_description_body.tsv.gz
  else
    "$repository/tests/quickstart/packages.pl" | sed 's/\\[nrt]/ /g' >"$scratch/packages.txt"
    "$repository/tests/bench/sentences.pl" "$count" "$scratch/packages.txt"
  fi >"$scratch/texts.txt"
  [ "$(wc -l <"$scratch/texts.txt")" -ge "$count" ] || say "only $(wc -l <"$scratch/texts.txt") texts are there"
}

load_vectors() {  # load_vectors ROWS NEIGHBOURS: vectors of so many neighbouring texts each
  local count=$(($1 + questions)) beside=$2
  dimensions=$((256 * beside))
  provide_texts $((count + beside - 1))
  query -c 'SET client_min_messages = warning' -c 'DROP TABLE IF EXISTS questions, ours, theirs, truth' -c 'CREATE TABLE texts (id bigint GENERATED ALWAYS AS IDENTITY, body text)' \
    -c "\\copy texts (body) FROM '$scratch/texts.txt'"
  query -c "CREATE TABLE parts AS SELECT chunk * 5000 + ordinal AS id, embedding
    FROM (SELECT (id - 1) / 5000 AS chunk, array_agg(body ORDER BY id) AS bodies FROM texts GROUP BY 1) AS chunks, semantic_embed_batch(bodies)"
  query -c 'DO $$ BEGIN PERFORM setseed(0.5); END $$' -c "CREATE TABLE vectors AS SELECT row_number() OVER (ORDER BY random()) AS id, embedding FROM (
    SELECT embedding$(for ((i = 1; i < beside; ++i)); do printf ' || lead(embedding, %s) OVER (ORDER BY id)' "$i"; done) AS embedding FROM parts) AS beside
    WHERE cardinality(embedding) = $dimensions"
  query -c "CREATE TABLE questions AS SELECT id, embedding AS v FROM vectors WHERE id <= $questions" \
    -c 'CREATE UNIQUE INDEX ON questions (id)' \
    -c "CREATE TABLE ours AS SELECT id, (random() * 10000)::int AS tag, embedding AS v FROM vectors WHERE id > $questions" \
    -c 'CREATE INDEX ON ours (tag)' -c 'DROP TABLE vectors, parts, texts'
  if [ "$peer" = yes ]; then
    # Neither's question goes to a TOAST table because the other's stands beside it.
    query -c "ALTER TABLE questions ADD COLUMN vector vector($dimensions), ALTER COLUMN v SET STORAGE PLAIN, ALTER COLUMN vector SET STORAGE PLAIN" \
      -c "UPDATE questions SET vector = v::vector($dimensions)" \
      -c "CREATE TABLE theirs AS SELECT id, tag, v::vector($dimensions) AS v FROM ours" -c 'CREATE INDEX ON theirs (tag)'
  fi
  query -c 'VACUUM ANALYZE' -c 'CHECKPOINT'
  query -c 'SET enable_indexscan = off' -c 'SET max_parallel_workers_per_gather = 0' -c "CREATE TABLE truth AS
    SELECT id AS question, (SELECT array_agg(id) FROM (SELECT o.id FROM ours o ORDER BY o.v <=> q.v LIMIT 10) AS s) AS nearest
    FROM questions q WHERE id <= $judged"
}

# ---- building --------------------------------------------------------------------

worker_pid() { pgrep -P "$(head -n 1 "$scratch/data/postmaster.pid")" -f 'pg_semantic index worker'; }

measure_build() {
  local ours theirs ours_bytes theirs_bytes watcher worker
  worker=$(worker_pid)
  (while awk '/^RssAnon/ { print $2 }' "/proc/$worker/status"; do sleep 0.2; done) >"$scratch/memory" 2>/dev/null &
  watcher=$!
  ours=$(milliseconds -c 'CREATE INDEX ours_v ON ours USING semantic (v real_cosine_ops)')
  kill "$watcher"
  ours_bytes=$(query -At -c "SELECT bytes FROM semantic_indexes WHERE index = 'ours_v'::regclass")
  report "CREATE INDEX over $(query -At -c 'SELECT count(*) FROM ours') vectors of $dimensions numbers" "$ours" ms
  report "  size" "$((ours_bytes / 1000000))" MB
  report "  memory of the worker, caches included: before, most" \
    "$(awk 'NR == 1 { first = $1 } $1 > most { most = $1 } END { printf "%.0f, %.0f", first / 1024, most / 1024 }' "$scratch/memory")" MB
  report "  lists" "$(query -At -c "SELECT lists FROM semantic_indexes WHERE index = 'ours_v'::regclass")" ""
  [ "$peer" = yes ] || return 0
  theirs=$(milliseconds -c 'CREATE INDEX theirs_v ON theirs USING hnsw (v vector_cosine_ops)')
  theirs_bytes=$(query -At -c "SELECT pg_relation_size('theirs_v')")
  report "pgvector's hnsw, m = 16, ef_construction = 64" "$theirs" ms
  report "  size" "$((theirs_bytes / 1000000))" MB
  report "  time / ours" "$(ratio "$theirs" "$ours")" ""
  report "  our size / its" "$(ratio "$ours_bytes" "$theirs_bytes")" ""
}

# ---- searching -------------------------------------------------------------------

recall() {  # recall SETTING TABLE QUESTION_COLUMN
  query -At -c "SET $1" -c "SELECT round(avg(found) / 10, 4) FROM (SELECT (SELECT count(*) FROM (
      SELECT t.id FROM $2 t ORDER BY t.v <=> q.$3 LIMIT 10) AS s WHERE id = ANY (nearest)) AS found
    FROM truth JOIN questions q ON q.id = question) AS each"
}

# load SETTING SCRIPT CLIENTS: queries a second, median and 99th percentile of a query's milliseconds
load() {
  local rate
  rm -f "$scratch"/latency.*
  rate=$(PGOPTIONS="-c $1" as_server_user env PGOPTIONS="-c $1" PGHOST="$PGHOST" PGPORT="$PGPORT" PGUSER="$PGUSER" "$(pg_bin)/pgbench" \
    -n -M prepared -c "$3" -j "$3" -T "$seconds" -l --log-prefix="$scratch/latency" -f "$2" 2>/dev/null | awk '/^tps/ { print $3 }')
  cat "$scratch"/latency.* | awk '{ print $3 / 1000 }' | sort -g |
    awk -v rate="$rate" '{ v[NR] = $1 } END { printf "%.0f %.3f %.3f\n", rate, v[int(NR / 2) + 1], v[int(NR * 0.99) + 1] }'
}

write_scripts() {
  printf '%s\n' "\\set question random(1, $questions)" \
    'SELECT id FROM ours ORDER BY v <=> (SELECT v FROM questions WHERE id = :question) LIMIT 10;' >"$scratch/ours.sql"
  printf '%s\n' "\\set question random(1, $questions)" \
    'SELECT id FROM theirs ORDER BY v <=> (SELECT vector FROM questions WHERE id = :question) LIMIT 10;' >"$scratch/theirs.sql"
  chmod a+r "$scratch"/*.sql
}

# Both in turns, so that what disturbs the machine disturbs both.
measure_curve() {  # measure_curve [CLIENTS [NAME]]
  local clients=${1:-1} name=${2:-${1:-1}} i ours=(0.8 0.9 0.95 0.97 0.99 0.995) theirs=(20 40 70 120 250 500)
  : >"$scratch/points-$name"
  for i in 0 1 2 3 4 5; do
    printf 'ours %s %s %s\n' "${ours[$i]}" "$(recall "semantic.recall = ${ours[$i]}" ours v)" \
      "$(load "semantic.recall=${ours[$i]}" "$scratch/ours.sql" "$clients")" | tee -a "$scratch/points-$name"
    [ "$peer" = yes ] || continue
    printf 'hnsw %s %s %s\n' "${theirs[$i]}" "$(recall "hnsw.ef_search = ${theirs[$i]}" theirs vector)" \
      "$(load "hnsw.ef_search=${theirs[$i]}" "$scratch/theirs.sql" "$clients")" | tee -a "$scratch/points-$name"
  done
  /usr/bin/python3 "$repository/tests/bench/index/curve.py" "$scratch/points-$name" "$repository/$BUILD/index-$name.svg"
}

# Other sizes, with what is measured of them.
measure_wide() { say "100,000 of 768 numbers"; load_vectors 100000 3; measure_build; measure_curve 1 wide; }
measure_million() { say "1,000,000"; load_vectors 1000000 1; measure_build; measure_curve 1 million; }

measure_clients() { say "two clients"; measure_curve 2; }

# ---- filters ----------------------------------------------------------------------

measure_filter() {
  local below table column setting found
  for below in 5000 1000 100 10; do
    for table in ours theirs; do
      if [ "$table" = theirs ] && [ "$peer" != yes ]; then continue; fi
      column=v setting='semantic.recall=0.95'
      if [ "$table" = theirs ]; then column=vector setting='hnsw.iterative_scan=relaxed_order'; fi
      printf '%s\n' "\\set question random(1, $questions)" \
        "SELECT id FROM $table WHERE tag < $below ORDER BY v <=> (SELECT $column FROM questions WHERE id = :question) LIMIT 10;" >"$scratch/filter.sql"
      chmod a+r "$scratch/filter.sql"
      found=$(query -At -c "SET $setting" -c "SELECT round(avg(found::numeric / least(10, wanted)), 4) FROM (
        SELECT (SELECT count(*) FROM (SELECT t.id FROM $table t WHERE tag < $below ORDER BY t.v <=> q.$column LIMIT 10) AS s WHERE id = ANY (nearest)) AS found,
          cardinality(nearest) AS wanted
        FROM (SELECT q.id, q.$column, (SELECT array_agg(id) FROM (SELECT o.id FROM ours o WHERE tag < $below ORDER BY (o.v <=> q.v) + 0 LIMIT 10) AS s) AS nearest
          FROM questions q WHERE q.id <= 50) AS q) AS each")
      report "filter $(awk -v b="$below" 'BEGIN { print b / 100 }') %, $table: recall; queries/s, p50, p99" "$found;" "$(load "$setting" "$scratch/filter.sql" 1)"
    done
  done
}

# ---- inserts ----------------------------------------------------------------------

measure_insert() {
  local table count=10000 ms
  query -c 'CREATE TABLE without AS SELECT * FROM ours LIMIT 0'  # the floor: no index of vectors
  for table in without ours theirs; do
    if [ "$table" = theirs ] && [ "$peer" != yes ]; then continue; fi
    query -c "CREATE TABLE more_$table AS SELECT row_number() OVER () AS n, id + 10000000 AS id, tag, v FROM ${table/without/ours} LIMIT $count" \
      -c "CREATE UNIQUE INDEX ON more_$table (n)" -c "VACUUM ANALYZE more_$table"
    ms=$(milliseconds -c "INSERT INTO $table SELECT id, tag, v FROM more_$table")
    report "INSERT … SELECT of $count rows, ${table/without/without an index of vectors}" "$(ratio $((count * 1000)) "$ms")" "rows/s"
    printf '%s\n' "\\set row random(1, $count)" "INSERT INTO $table SELECT id + :client_id + 20000000, tag, v FROM more_$table WHERE n = :row;" >"$scratch/insert.sql"
    chmod a+r "$scratch/insert.sql"
    report "  one row a transaction: rows/s, p50, p99" "" "$(load "synchronous_commit=on" "$scratch/insert.sql" 1)"
    report "  the same, two clients" "" "$(load "synchronous_commit=on" "$scratch/insert.sql" 2)"
    report "  the same, one client, synchronous_commit = off" "" "$(load "synchronous_commit=off" "$scratch/insert.sql" 1)"
  done
}

# ---- published sets ------------------------------------------------------------------

measure_small() {
  local shared name
  shared=$(realpath -m "${PG_SEMANTIC_SHARED:-$repository/../shared}")/data/ann
  for name in sift deep; do
    case $name in
      sift) awk -F '\t' '{ printf "{"; for (i = 1; i <= 128; ++i) printf "%s%s", (i > 1 ? "," : ""), $i; print "}" }' \
        "$shared/sift-dataset-5k.tsv" ;;
      deep) tr '[]' '{}' <"$shared/deep1b_96d.jsonl" | tr -d ' ' ;;
    esac >"$scratch/$name.txt" 2>/dev/null || { say "SKIP: $name is not there"; continue; }
    query -c "CREATE TABLE $name (id int GENERATED ALWAYS AS IDENTITY, v real[])" -c "\\copy $name (v) FROM '$scratch/$name.txt'" \
      -c "CREATE TABLE ${name}_questions AS SELECT * FROM $name WHERE id % 10 = 0" -c "DELETE FROM $name WHERE id % 10 = 0" \
      -c "CREATE INDEX ${name}_v ON $name USING semantic (v real_l2_ops)" -c "VACUUM ANALYZE $name"
    for setting in 0.8 0.9 0.95 0.99; do
      report "$name, L2, semantic.recall $setting: measured by held-out queries" "$(query -At -c "SET semantic.recall = $setting" -c 'SET enable_seqscan = off' -c "
        SELECT round(avg(found) / 10, 4) FROM (SELECT (SELECT count(*) FROM (SELECT t.id FROM $name t ORDER BY t.v <-> q.v LIMIT 10) AS s
            WHERE id IN (SELECT t.id FROM $name t ORDER BY (t.v <-> q.v) + 0 LIMIT 10)) AS found FROM ${name}_questions q) AS each")" ""
    done
  done
}

make_scratch
chmod a+rx "$scratch"
start_server "$scratch" "shared_buffers = '2GB'" "maintenance_work_mem = '${MAINTENANCE_WORK_MEM:-2GB}'" "max_wal_size = '16GB'" "autovacuum = off" "semantic.index_memory = '1GB'"
export PGDATABASE=postgres PGCLIENTENCODING=UTF8
query -c 'CREATE EXTENSION pg_semantic'
peer=no
if query -c 'CREATE EXTENSION vector' 2>/dev/null; then peer=yes; else say "SKIP: pgvector is not installed"; fi
say "$(awk -F ': ' '/^model name/ { print $2; exit }' /proc/cpuinfo), $(nproc) cores; $(query -At -c 'SHOW server_version'); pgvector $(query -At -c "SELECT extversion FROM pg_extension WHERE extname = 'vector'")"
write_scripts
case " ${parts[*]} " in
  *" build "* | *" curve "* | *" clients "* | *" filter "* | *" insert "*)
    load_vectors "$rows" 1
    measure_build ;;
esac
for part in "${parts[@]}"; do
  [ "$part" = build ] || "measure_$part"
done
