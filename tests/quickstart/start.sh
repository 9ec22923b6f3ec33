#!/usr/bin/env bash
# make quickstart: from a bare Debian machine to PostgreSQL finding rows by
# meaning.  Packages, build, install, a throwaway server of its own, real text
# that is already on the machine, an index, five questions.  A second run starts
# again from an empty server.
source "$(dirname "${BASH_SOURCE[0]}")/../run/lib.sh"
source "$repository/tests/quickstart/place.sh"
source "$repository/tests/quickstart/build_index.sh"
here=$repository/tests/quickstart

bold='' normal=''
if [ -t 1 ]; then bold=$'\e[1m' normal=$'\e[0m'; fi
step() { printf '\n%s== %s%s\n' "$bold" "$*" "$normal"; }

step "packages"
"$repository/tests/run/deps.sh" build

step "build and install"
mkdir -p "$state"
say "building (the first time takes a few minutes)"
build_and_install >"$state/build.log" 2>&1 </dev/null || { tail -n 40 "$state/build.log" >&2; die "the build failed; its whole output is in $state/build.log"; }
say "installed into $("$PG_CONFIG" --pkglibdir) and $("$PG_CONFIG" --sharedir)/extension"

step "a throwaway server"
old=$(recorded_place)
if [ -n "$old" ]; then
  cd /
  if is_running "$old"; then stop_server "$old"; fi
  rm -rf "$old"
  say "removed the server of an earlier run"
fi
place=$(choose_place)
cd "$place"
start_server "$place" "shared_buffers = '256MB'" "maintenance_work_mem = '256MB'" "max_wal_size = '2GB'"
export PGCLIENTENCODING=UTF8
query -d postgres -c 'CREATE DATABASE quickstart'
export PGDATABASE=quickstart
query -c 'CREATE EXTENSION pg_semantic'
say "$(query -At -c "SELECT split_part(version(), ' on ', 1)") is up; it answers only on a socket in $place"
query -At -c "SELECT format('model \"%s\": %s, %s dimensions, %s million parameters', name, architecture, dimensions, round(parameters / 1e6, 1)) FROM semantic_models"

step "text that is already on this machine"
query -f "$here/tables.sql"
"$here/packages.pl" | query -c '\copy packages (name, section, description) FROM PSTDIN'
query -At -c "SELECT format('%s functions of PostgreSQL, from pg_proc', count(*)) FROM functions" \
  -c "SELECT format('%s Debian packages, from apt', count(*)) FROM packages"
query -c 'VACUUM ANALYZE'

step "indexes: CREATE INDEX … USING semantic (description)"
build_index functions description functions_by_meaning
build_index packages description packages_by_meaning

step "five questions"
query -f "$here/questions.sql"

step "now you"
cat <<TEXT
Connect:   $(pg_bin)/psql -h $place -p 5499 -U $(server_user) quickstart
Ask:       SELECT name, description FROM packages ORDER BY description <=> 'draw a map' LIMIT 5;
Files:     $place (data, server.log)
Stop:      make quickstart-stop
TEXT
