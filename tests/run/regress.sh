#!/usr/bin/env bash
# Runs pg_regress (`regress.sh regress`) or the isolation tests
# (`regress.sh isolation`) against a server of its own with the installed extension.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

kind=${1:-regress}
case $kind in
  regress)
    program=$(pg_test_directory)/regress/pg_regress
    folder=sql suffix=sql ;;
  isolation)
    program=$(pg_test_directory)/isolation/pg_isolation_regress
    folder=specs suffix=spec ;;
  *) die "usage: regress.sh regress|isolation" ;;
esac

tests=$repository/tests/$kind
[ -e "$tests/schedule" ] || die "there is no $tests/schedule"

# A test that no schedule names would never run.
for file in "$tests/$folder"/*."$suffix"; do
  name=$(basename "$file" ".$suffix")
  grep -qE "^test:.*\\b$name\\b" "$tests/schedule" || die "tests/$kind/schedule does not name the test $name"
done

make_scratch
provide_shared_data
cp -R "$tests" "$scratch/$kind"
mkdir "$scratch/output"
cat >"$scratch/temp.conf" <<'CONF'
shared_preload_libraries = 'pg_semantic'
max_prepared_transactions = 8
fsync = off
log_statement = 'none'
CONF
# A snapshot of autovacuum's ANALYZE would keep rows that a test wants VACUUM to remove.
if [ "$kind" = isolation ]; then echo 'autovacuum = off' >>"$scratch/temp.conf"; fi
if is_root; then chown -R postgres "$scratch"; fi

status=0
as_server_user "$program" --bindir="$(pg_bin)" --inputdir="$scratch/$kind" --outputdir="$scratch/output" \
  --temp-instance="$scratch/instance" --temp-config="$scratch/temp.conf" --encoding=UTF8 --no-locale \
  --schedule="$scratch/$kind/schedule" --max-connections=4 || status=$?

log=$scratch/output/log/postmaster.log
[ -e "$log" ] || log=$scratch/instance/log/postmaster.log
if grep -nE 'PANIC|TRAP:|was terminated by signal' "$log" 2>/dev/null; then
  say "not ok: a process of the server died during the $kind tests"
  status=1
fi
if [ "$status" != 0 ]; then
  cat "$scratch/output/regression.diffs" 2>/dev/null || true
  say "---- the end of the server's log"
  tail -n 60 "$log" 2>/dev/null || true
  # For a look afterwards, and for taking over an output that is right.
  mkdir -p "$repository/$BUILD/check/$kind"
  cp -R "$scratch/output/." "$repository/$BUILD/check/$kind/"
  say "outputs are in $BUILD/check/$kind"
fi
exit "$status"
