#!/usr/bin/env bash
# Runs the TAP tests, each with servers of its own: `tap.sh [test …]`, by
# default every tests/tap/t/*.pl.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

make_scratch
provide_shared_data
provide_siblings
cp -R "$repository/tests/tap" "$scratch/tap"
mkdir "$scratch/run"
if is_root; then chown -R postgres "$scratch"; fi

cd "$scratch/tap"
if [ $# -gt 0 ]; then
  scripts=()
  for name in "$@"; do scripts+=("t/$(basename "$name" .pl).pl"); done
else
  scripts=(t/*.pl)
fi

# TESTDIR is PostgreSQL 15's name, the other two are its successors'.
test_directory=$(pg_test_directory)
export TESTDIR=$scratch/run TESTLOGDIR=$scratch/run/tmp_check/log TESTDATADIR=$scratch/run/tmp_check
export PG_REGRESS=$test_directory/regress/pg_regress PG_TEST_TIMEOUT_DEFAULT=${PG_TEST_TIMEOUT_DEFAULT:-180}
export PERL5LIB=$test_directory/perl:$scratch/tap${PERL5LIB:+:$PERL5LIB}
PATH=$(pg_bin):$PATH
export PATH

status=0
as_server_user timeout -k 10 1200 prove --timer --failures "${scripts[@]}" || status=$?
if [ "$status" != 0 ]; then
  for log in "$TESTDATADIR"/log/*; do
    say "---- the end of $(basename "$log")"
    tail -n 60 "$log"
  done
  mkdir -p "$repository/$BUILD/check/tap"
  cp -R "$TESTDATADIR/log" "$repository/$BUILD/check/tap/"
  say "logs are in $BUILD/check/tap/log"
fi
exit "$status"
