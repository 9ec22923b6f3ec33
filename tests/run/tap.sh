#!/usr/bin/env bash
# Runs the TAP tests, each with servers of its own: `tap.sh [test …]`, by
# default every tests/tap/t/*.pl.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

make_scratch
provide_shared_data
provide_reference_checkpoints
prepare_tap
cp "$repository/README.md" .  # whose examples run
if has_foreign_node; then
  provide_node_pg
  cp -R "$repository/$BUILD/node/node_modules" .
fi

if [ $# -gt 0 ]; then
  scripts=()
  for name in "$@"; do scripts+=("t/$(basename "$name" .pl).pl"); done
else
  # Side by side, those that take longest first.
  scripts=(t/060_crash.pl t/010_conformance.pl t/025_check_models.pl t/011_models.pl t/030_pgvector.pl)
  for script in t/*.pl; do
    [[ " ${scripts[*]} " == *" $script "* ]] || scripts+=("$script")
  done
fi

status=0
as_server_user timeout -k 10 1200 prove --jobs "$(nproc)" --timer --failures "${scripts[@]}" || status=$?
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
