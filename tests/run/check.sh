#!/usr/bin/env bash
# Every test, each part, whatever the others gave.  Builds,
# installs, and ends with one line a part and one line for all:
# "check: N passed, N failed".
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

logs=$repository/$BUILD/check
rm -rf "$logs"
mkdir -p "$logs"

summary=()
failures=()
passed=0 failed=0

# "passed failed": how many tests a log tells of.  GoogleTest; the structure
# and pg_regress (16 and later: "ok", "not ok"; before: "... ok", "... FAILED"); prove,
# whose lines for a file ("[12:00:00] t/010.pl ... ok  10 ms") count no test, and whose
# "not ok" lines are in its "Failed 1/3 subtests", too.
count_tests() {
  awk '/^\[  PASSED  \] [0-9]+ tests?\./ { passed += $4 }
       /^\[  FAILED  \] .*\([0-9]+ ms\)/ { failed++ }
       /^[^[].*\.\.\. ok +[0-9]+ ms/ || /^ok: / || /^ok [0-9]+ +[-+] / { passed++ }
       /\.\.\. FAILED/ { failed++ }
       /^not ok/ { not_ok++ }
       match($0, /^Files=[0-9]+, Tests=[0-9]+/) { split(substr($0, RSTART, RLENGTH), part, "="); passed += part[3]; prove = 1 }
       match($0, /Failed [0-9]+\/[0-9]+ subtests/) { split(substr($0, RSTART + 7), part, "/"); failed += part[1]; passed -= part[1] }
       END { print passed + 0, failed + (prove ? 0 : not_ok) }' "$1"
}

# What failed, by a part's log, a line each: GoogleTest's tests, the files of prove and their
# first failed tests, the others' lines.
list_failures() {
  awk '/^\[  FAILED  \] .*\([0-9]+ ms\)/ { sub(/^\[  FAILED  \] /, ""); print }
       /^t\/.*Wstat: [1-9]/ || /^t\/.*Failed: [1-9]/ { print }
       /^# +Failed test/ && ++told <= 5 { sub(/^# +/, ""); print }
       /^failed: share/ || /\.\.\. FAILED/ || (/^not ok/ && !/^not ok [0-9]+ - /) { print }' "$1" | cut -c 1-120
}

run_part() {  # run_part NAME COMMAND…
  local name=$1 start=$SECONDS status=0
  shift
  "$@" >"$logs/$name.log" 2>&1 </dev/null || status=$?
  echo "$status $((SECONDS - start))" >"$logs/$name.result"
}

report() {  # report NAME, which has run
  local name=$1 status=1 seconds=0 good bad line
  say
  say "==== $name"
  read -r status seconds <"$logs/$name.result" || say "not ok: $name did not run to its end"
  # What a person wants to see of a part that passed: how it ended.
  if [ "$status" = 0 ]; then tail -n 6 "$logs/$name.log"; else cat "$logs/$name.log"; fi
  grep -hE '^SKIP|\[  SKIPPED \]' "$logs/$name.log" | sort -u || true
  read -r good bad < <(count_tests "$logs/$name.log")
  if [ "$status" != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
  if [ "$status" = 0 ] && [ "$good" = 0 ]; then
    say "not ok: $name ran no test"
    bad=1
  fi
  passed=$((passed + good))
  failed=$((failed + bad))
  if [ "$bad" != 0 ]; then
    while IFS= read -r line; do failures+=("$name: $line"); done < <(list_failures "$logs/$name.log")
  fi
  summary+=("$(printf '%-18s %5d passed  %3d failed  %4d s' "$name" "$good" "$bad" "$seconds")")
}

part() { run_part "$@"; report "$1"; }

say "==== build"
start=$SECONDS
build_and_install >"$logs/build.log" 2>&1 </dev/null || { tail -n 100 "$logs/build.log"; die "the build failed"; }
run_make "$BUILD/tests/unit_tests" >>"$logs/build.log" 2>&1 </dev/null ||
  { tail -n 100 "$logs/build.log"; die "the build of the unit tests failed"; }
grep -E 'warning:' "$logs/build.log" | sort -u | head -n 20 || true
say "built and installed in $((SECONDS - start)) s"

cd "$repository"
# The parts with servers run beside the others: they sleep, wait, and use one processor.
# A process group of their own, so that none of it outlives this script.
server_parts() {
  run_part regress tests/run/regress.sh regress
  run_part isolation tests/run/regress.sh isolation
  run_part tap tests/run/tap.sh
}
set -m
server_parts &
servers=$!
set +m
trap 'kill -- "-$servers" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM

part structure tests/run/structure.sh
part unit tests/run/unit.sh
part vector-levels tests/run/vector_levels.sh
part sanitize-address tests/run/sanitize.sh address
part sanitize-thread tests/run/sanitize.sh thread
wait "$servers" || true
report regress
report isolation
report tap

say
say "==== summary"
printf '%s\n' "${summary[@]}"
# Last, since of a long output somebody may keep the end only.
for line in "${failures[@]:0:20}"; do say "failed: $line"; done
say "check: $passed passed, $failed failed"
[ "$failed" = 0 ]
