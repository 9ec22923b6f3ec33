#!/usr/bin/env bash
# make quickstart-stop: stops the quickstart's server and says what remains.
# `--quiet`: says nothing, and removes the server's files as well (make clean).
source "$(dirname "${BASH_SOURCE[0]}")/../run/lib.sh"
source "$repository/tests/quickstart/place.sh"

quiet=${1:-}
place=$(recorded_place)
if [ -z "$place" ]; then
  [ "$quiet" = --quiet ] || say "there is no quickstart server here"
  exit 0
fi
cd /
if is_running "$place"; then
  stop_server "$place"
  [ "$quiet" = --quiet ] || say "stopped the quickstart's server"
else
  [ "$quiet" = --quiet ] || say "the quickstart's server was not running"
fi
if [ "$quiet" = --quiet ]; then
  rm -rf "$place"
  exit 0
fi

size=$(du -sh "$place" 2>/dev/null | cut -f 1 || true)
cat <<TEXT
What remains:
  $place  (${size:-?}: the server's files; 'make quickstart' replaces them, 'make clean' removes them)
  the extension in $("$PG_CONFIG" --pkglibdir) and $("$PG_CONFIG" --sharedir)/extension  ('make uninstall' removes it)
  the Debian packages that were installed
TEXT
