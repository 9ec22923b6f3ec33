#!/usr/bin/env bash
# Builds the fuzz targets with libFuzzer, AddressSanitizer and
# UndefinedBehaviorSanitizer and runs each: `fuzz.sh SECONDS [target …]`.
# Starts from tests/fuzz/corpus, works in build/fuzz/corpus, stops at the first
# finding, whose input it leaves in build/fuzz/findings: put it into the corpus
# and it is a test.  `fuzz.sh minimize` brings what was found new back into
# tests/fuzz/corpus, the smallest set of inputs that reaches as much.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

clang=${FUZZ_CXX:-clang++}
command -v "$clang" >/dev/null || die "libFuzzer comes with clang; run 'tests/run/deps.sh fuzz' first"

seconds=${1:-600}
shift || true
# In the order of kTargets.
mapfile -t names < <(grep -oE '\{"[a-z_]+"' "$repository/tests/fuzz/fuzz.h" | tr -d '{"')
wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=("${names[@]}")

directory=$BUILD/fuzz
flags="-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all -O1 -g1 -fno-omit-frame-pointer"
BUILD=$directory SANITIZE="$flags -fsanitize=fuzzer-no-link" run_make CXX="$clang" "$directory/tests/fuzz.a"

cd "$repository"
mkdir -p "$directory/findings"
export UBSAN_OPTIONS=print_stacktrace=1
findings=0
for i in "${!names[@]}"; do
  name=${names[$i]}
  [[ " ${wanted[*]} " == *" $name "* ]] || continue
  program=$directory/fuzz_$name
  # shellcheck disable=SC2086
  "$clang" -std=c++20 $flags -fsanitize=fuzzer -I. -DPG_SEMANTIC_FUZZ_TARGET="$i" tests/fuzz/libfuzzer_entry.cpp \
    "$directory/tests/fuzz.a" -o "$program" -licui18n -licuuc -lcrypto -ldl -lpthread
  corpus=$directory/corpus/$name
  mkdir -p "$corpus" "tests/fuzz/corpus/$name"
  options=(-max_len=4096 -timeout=20 -rss_limit_mb=4096 -artifact_prefix="$directory/findings/$name-")
  [ ! -e "tests/fuzz/$name.dict" ] || options+=(-dict="tests/fuzz/$name.dict")
  if [ "$seconds" = minimize ]; then
    "$program" -merge=1 -max_len=4096 "tests/fuzz/corpus/$name" "$corpus" 2>&1 | tail -n 1
    continue
  fi
  say "== $name, $seconds s"
  if "$program" "${options[@]}" -max_total_time="$seconds" -print_final_stats=1 "$corpus" "tests/fuzz/corpus/$name" \
      >"$directory/$name.log" 2>&1; then
    grep -E 'stat::(number_of_executed_units|average_exec)' "$directory/$name.log"
    say "ok: $name"
  else
    tail -n 60 "$directory/$name.log"
    say "not ok: $name"
    findings=$((findings + 1))
  fi
done
[ "$findings" = 0 ]
