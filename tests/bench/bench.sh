#!/usr/bin/env bash
# make bench: measures what README promises, on a server of its own, with real
# text: package descriptions from apt, and sentences from the test data beside
# the repository.  `bench.sh [sessions|throughput|distances|packages|sentences|rerank|tokenizer|encoder|embed|quality|index]…`
# measures only those.
# PACKAGES=FILE takes the descriptions from a file that packages.pl wrote (where
# apt was told to fetch no translations, it knows only their first lines).
# Figures and what was learnt from them: RESULTS.md.
source "$(dirname "${BASH_SOURCE[0]}")/../run/lib.sh"

parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(sessions throughput distances packages sentences rerank tokenizer encoder embed quality index)

report() { printf '%-66s %12s %s\n' "$1" "$2" "$3"; }
seconds_since() { awk -v now="$(date +%s%N)" -v then="$1" 'BEGIN { printf "%.1f", (now - then) / 1e9 }'; }
# percentile P: of the numbers, one a line, on standard input
percentile() { sort -g | awk -v p="$1" '{ v[NR] = $1 } END { i = int(p / 100 * NR + 0.999); print v[i < 1 ? 1 : i] }'; }
sum_kilobytes() {  # sum_kilobytes PID FIELD: of the mapped model
  as_server_user awk -v field="$2:" '/^[0-9a-f]+-[0-9a-f]+ / { model = /\/pg_semantic\/models\// }
    model && $1 == field { sum += $2 } END { print sum + 0 }' "/proc/$1/smaps"
}

# ---- first and second call of a session, memory of two sessions ------------------

measure_sessions() {
  local pids pid
  for _ in $(seq 21); do
    query -At -c '\timing on' -c "SELECT array_length(semantic_embed('how do I reset my password'), 1)" \
      -c "SELECT array_length(semantic_embed('the train leaves at nine'), 1)" | awk '/^Time:/ { print $2 }' | paste -sd ' '
  done >"$scratch/sessions"
  report "first semantic_embed of a session, median of 21" "$(cut -d ' ' -f 1 "$scratch/sessions" | percentile 50)" ms
  report "second, median of 21" "$(cut -d ' ' -f 2 "$scratch/sessions" | percentile 50)" ms

  for _ in 1 2; do
    query -c "SELECT semantic_embed('hold the weights')" -c "SELECT pg_sleep(4)" >/dev/null &
  done
  sleep 2
  pids=$(query -At -c "SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_sleep(4)%' AND pid <> pg_backend_pid()")
  for pid in $pids; do
    report "model file, resident in a session of two" "$(sum_kilobytes "$pid" Rss)" kB
    report "  proportional share (PSS)" "$(sum_kilobytes "$pid" Pss)" kB
  done
  wait
}

# ---- batches ---------------------------------------------------------------------

load_packages() {
  [ -z "$(query -At -c "SELECT to_regclass('packages')")" ] || return 0
  query -c 'CREATE TABLE packages (id bigint GENERATED ALWAYS AS IDENTITY, name text, section text, description text)'
  if [ -n "${PACKAGES:-}" ]; then cat "$PACKAGES"; else "$repository/tests/quickstart/packages.pl"; fi >"$scratch/all.tsv"
  head -n 60000 "$scratch/all.tsv" >"$scratch/packages.tsv"
  query -c "\\copy packages (name, section, description) FROM '$scratch/packages.tsv'" -c 'VACUUM ANALYZE packages'
  report "package descriptions" "$(query -At -c 'SELECT count(*) FROM packages')" rows
  report "  tokens of one, mean" "$(query -At -c 'SELECT round(avg(semantic_count_tokens(description)), 1) FROM (SELECT description FROM packages TABLESAMPLE SYSTEM (10) REPEATABLE (1)) AS s')" tokens
}

measure_throughput() {
  local threads milliseconds
  load_packages
  for threads in 1 2; do
    milliseconds=$(query -At -c "SET semantic.threads = $threads" -c '\timing on' -c "SELECT count(*) FROM semantic_embed_batch(
      (SELECT array_agg(description) FROM (SELECT description FROM packages LIMIT 5000) AS s))" | awk '/^Time:/ { print $2 }')
    report "semantic_embed_batch, 5,000 package descriptions, $threads thread(s)" \
      "$(awk -v ms="$milliseconds" 'BEGIN { printf "%d", 5000 / ms * 1000 }')" "texts/s"
  done
}

# ---- distances of real[] -----------------------------------------------------------

# least_milliseconds QUERY: of 15 executions in one session.
least_milliseconds() {
  local statements=() _
  for _ in $(seq 15); do statements+=(-c "EXPLAIN (ANALYZE, TIMING OFF) $1"); done
  query -At -c 'SET enable_material = off' -c 'SET max_parallel_workers_per_gather = 0' "${statements[@]}" |
    sed -n 's/^Execution Time: \(.*\) ms$/\1/p' | sort -g | head -n 1
}

# A call over rows that are in the processor's cache, without what reading them takes.
measure_distances() {
  local width operator rows reading
  for width in 256 768; do
    query -c "CREATE TABLE arrays_$width (id int, v real[])" -c "ALTER TABLE arrays_$width ALTER v SET STORAGE plain" \
      -c "INSERT INTO arrays_$width SELECT row, array_agg(sin(row * 1000 + i)::real)
        FROM generate_series(1, 200) AS row, generate_series(1, $width) AS i GROUP BY row" -c "ANALYZE arrays_$width"
    rows="FROM arrays_$width, generate_series(1, 1000)"
    reading=$(least_milliseconds "SELECT sum(id::float8) $rows")
    for operator in '<=>' '<->' '<#>'; do
      report "real[] $operator real[], $width dimensions" "$(awk -v all="$(least_milliseconds "SELECT sum(v $operator (SELECT v FROM arrays_$width WHERE id = 1)) $rows")" \
        -v reading="$reading" 'BEGIN { printf "%.0f", (all - reading) / 200000 * 1e6 }')" ns
    done
  done
}

# ---- a text index over package descriptions ----------------------------------------

index_facts() {
  report "  size on disk" "$(query -At -c "SELECT round(bytes / 1e6, 1) FROM semantic_indexes WHERE index = '$1'::regclass")" MB
  report "  lists" "$(query -At -c "SELECT lists FROM semantic_indexes WHERE index = '$1'::regclass")" ""
  report "  semantic_index_recall, k = 10, 200 samples" "$(query -At -c "SELECT semantic_index_recall('$1', 10, 200)")" ""
}

measure_packages() {
  local started question number=0 scripts=()
  load_packages
  started=$(date +%s%N)
  query -c 'CREATE INDEX packages_description ON packages USING semantic (description)'
  report "CREATE INDEX over the descriptions" "$(seconds_since "$started")" s
  index_facts packages_description

  while IFS= read -r question; do
    number=$((number + 1))
    echo "SELECT name FROM packages ORDER BY description <=> '$question' LIMIT 10;" >"$scratch/question$number.sql"
    scripts+=(-f "$scratch/question$number.sql")
  done <"$repository/tests/bench/questions.txt"
  "$(pg_bin)/pgbench" -n -c 1 -t 200 "${scripts[@]}" >/dev/null 2>&1  # warm
  "$(pg_bin)/pgbench" -n -c 1 -t 1000 -l --log-prefix="$scratch/latency" "${scripts[@]}" >"$scratch/pgbench.out" 2>&1 ||
    { cat "$scratch/pgbench.out" >&2; die "pgbench failed"; }
  awk '{ print $3 / 1000 }' "$scratch"/latency.* >"$scratch/latencies"
  report "question to ten rows, 1 client, p50" "$(percentile 50 <"$scratch/latencies")" ms
  report "  p95" "$(percentile 95 <"$scratch/latencies")" ms
}

# ---- recall against exact search ---------------------------------------------------

measure_recall() {  # measure_recall ROWS
  local rows=$1 started
  query -c "DROP TABLE IF EXISTS points" -c "CREATE TABLE points AS SELECT id, embedding FROM vectors WHERE id <= $rows" -c 'ANALYZE points'
  started=$(date +%s%N)
  query -c 'CREATE INDEX points_embedding ON points USING semantic (embedding real_cosine_ops)'
  report "CREATE INDEX over $rows vectors of sentences" "$(seconds_since "$started")" s
  index_facts points_embedding
  query -At -F ' ' -f "$repository/tests/bench/recall.sql" >"$scratch/recall"
  report "  recall@10 against a sequential scan, 100 held-out queries" "$(cut -d ' ' -f 1 "$scratch/recall")" ""
  report "  largest difference of a distance" "$(cut -d ' ' -f 2 "$scratch/recall")" ""
}

measure_sentences() {
  local shared started
  shared=$(realpath -m "${PG_SEMANTIC_SHARED:-$repository/../shared}")/data/train
  if [ ! -d "$shared" ]; then
    say "SKIP: the sentences are in the test data, which is not in $shared"
    return
  fi
  "$repository/tests/bench/sentences.pl" 200100 "$shared"/openstax_paragraphs.txt.gz "$shared"/msdocs_heading_section.tsv.gz \
    "$shared"/medquad_q_a.tsv.gz "$shared"/msdocs_description_body.tsv.gz >"$scratch/sentences.txt"
  query -c 'CREATE TABLE sentences (id bigint GENERATED ALWAYS AS IDENTITY, body text)' \
    -c "\\copy sentences (body) FROM '$scratch/sentences.txt'" -c 'ANALYZE sentences'
  started=$(date +%s%N)
  query -c "CREATE TABLE vectors AS SELECT first + ordinal - 1 AS id, embedding
    FROM (SELECT min(id) AS first, array_agg(body ORDER BY id) AS bodies FROM sentences GROUP BY (id - 1) / 5000) AS chunk,
         semantic_embed_batch(chunk.bodies)"
  report "embedding $(query -At -c 'SELECT count(*) FROM vectors') sentences" "$(seconds_since "$started")" s
  measure_recall 5000
  measure_recall 200000
}

# ---- programs of their own -----------------------------------------------------------

run_program() {  # run_program NAME ARGUMENT…
  local program=$BUILD/tests/bench/$1
  shift
  run_make "$program" >"$scratch/build.log" 2>&1 || { cat "$scratch/build.log" >&2; die "the build failed"; }
  "$repository/$program" "$@"
}

# Reranking 100 passages of 100 tokens beside embedding the same tokens.
measure_rerank() { run_program rerank_bench; }

# Every family of tokenizers on ASCII text, line by line and as one text.
measure_tokenizer() {
  local shared
  shared=$(realpath -m "${PG_SEMANTIC_SHARED:-$repository/../shared}")/data
  if [ ! -d "$shared" ]; then
    say "SKIP: texts and vocabularies are in the test data, which is not in $shared"
    return
  fi
  zcat "$shared/train/openstax_paragraphs.txt.gz" >"$scratch/paragraphs.txt"
  run_program tokenizer_bench "$scratch/paragraphs.txt" "$shared/tokenizer" "$repository/tests/reference/tokenizers"
}

# DistilBERT-base's shape beside the floor of the machine and OpenBLAS; and, where
# node and Debian's python3-torch are, beside ONNX Runtime on the same weights.
measure_encoder() {
  local modules=$repository/$BUILD/onnx checkpoint=$scratch/distilbert precision peer=()
  local plot=$repository/$BUILD/encoder.svg
  run_program encoder_bench make "$checkpoint"
  if command -v npm >/dev/null && /usr/bin/python3 -c 'import torch' 2>/dev/null; then
    mkdir -p "$modules"
    [ -d "$modules/node_modules/onnxruntime-node" ] ||
      npm install --prefix "$modules" --no-save --ignore-scripts --no-audit --no-fund --loglevel=error onnxruntime-node </dev/null
    for precision in fp32 int8; do
      /usr/bin/python3 "$repository/tests/bench/onnx/export.py" "$checkpoint" "$scratch/$precision.onnx" $precision \
        >"$scratch/export.log" 2>&1 || { cat "$scratch/export.log" >&2; die "the export to ONNX failed"; }
    done
    peer=(--peer "$scratch/fp32.onnx" "$scratch/int8.onnx")
  else
    say "SKIP: ONNX Runtime as a peer needs npm and python3-torch"
  fi
  ONNX_MODULES=$modules /usr/bin/python3 "$repository/tests/bench/encoder_bench.py" "$repository/$BUILD/tests/bench/encoder_bench" \
    "$checkpoint" "${peer[@]}" --plot "$plot"
}

# What semantic_embed costs over the encoder alone: the same checkpoint and texts, in turns.
measure_embed() {
  local checkpoint=$scratch/distilbert precision length
  [ -d "$checkpoint" ] || run_program encoder_bench make "$checkpoint"
  chmod -R a+rX "$scratch"
  for precision in fp32 int8; do
    run_program encoder_bench compile "$checkpoint" $precision "$scratch/embed_$precision.bin"
    query -c "SELECT semantic_load_model('bench_$precision', '$checkpoint', '$precision')" >/dev/null
    for length in 8 32 128; do
      "$repository/tests/bench/embed_bench.py" "$repository/$BUILD/tests/bench/encoder_bench" "$scratch/embed_$precision.bin" \
        "bench_$precision" $length
    done
  done
}

# What lower precisions cost in quality: a model that was trained, on real texts.
measure_quality() {
  local shared
  shared=$(realpath -m "${PG_SEMANTIC_SHARED:-$repository/../shared}")
  if [ ! -d "$shared" ]; then
    say "SKIP: texts and judgements are in the test data, which is not in $shared"
    return
  fi
  run_program quality_bench "${QUALITY_MODEL:-$shared/models/starter}" "$shared/data"
}

# The index engine on synthetic vectors.
measure_index() { run_program index_bench; }

make_scratch
start_server "$scratch" "shared_buffers = '1GB'" "maintenance_work_mem = '1GB'" "max_wal_size = '8GB'" "autovacuum = off"
export PGDATABASE=postgres PGCLIENTENCODING=UTF8
query -c 'CREATE EXTENSION pg_semantic'
say "$(awk -F ': ' '/^model name/ { print $2; exit }' /proc/cpuinfo), $(nproc) cores; $(query -At -c 'SHOW server_version')"
for part in "${parts[@]}"; do "measure_$part"; done
