# shellcheck shell=bash
# What the scripts under tests/ share: who runs a server, where its files go,
# how it is started and stopped.  Sourced, never run.
#
# PostgreSQL refuses to run as root.  root therefore hands every server, and
# whatever must read what the server reads, to the user postgres; any other user
# runs servers as himself and needs sudo for installing only.

set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PG_CONFIG=${PG_CONFIG:-pg_config}
BUILD=${BUILD:-build}
export PG_CONFIG BUILD

# A server of somebody else's must not be reached by accident.
unset PGHOST PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGSERVICE PGSERVICEFILE PGOPTIONS PGDATA \
      PGAPPNAME PGCLIENTENCODING PGTZ PGDATESTYLE

say() { printf '%s\n' "$*"; }
die() { printf 'pg_semantic: %s\n' "$*" >&2; exit 1; }

is_root() { [ "$(id -u)" = 0 ]; }

# Runs a command as root: directly, or through sudo.
as_root() {
  if is_root; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "this needs root, and there is no sudo here; as root, run: $*"
  fi
}

server_user() { if is_root; then echo postgres; else id -un; fi; }

# Runs a command as the user who runs servers.
as_server_user() {
  if is_root; then
    runuser -u postgres -- "$@"
  else
    "$@"
  fi
}

# make, from a script that make may have started: no inherited job server.
run_make() {
  env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -C "$repository" --no-print-directory -j"$(nproc)" "$@"
}

# Builds and installs into the server that PG_CONFIG names.
build_and_install() {
  run_make all
  if [ -w "$("$PG_CONFIG" --pkglibdir)" ]; then
    run_make install >"$repository/$BUILD/install.log"
  else
    as_root env PG_CONFIG="$PG_CONFIG" BUILD="$BUILD" make -C "$repository" --no-print-directory install \
      >"$repository/$BUILD/install.log"
  fi
}

# A directory of our own under /tmp (socket paths must be short), given to the
# server's user; when the script ends, servers in it are stopped and it goes.
# Sets `scratch` and goes there, so that the server's user can read the current directory.
make_scratch() {
  scratch=$(mktemp -d /tmp/pg_semantic.XXXXXX)
  chmod 755 "$scratch"
  if is_root; then chown postgres "$scratch"; fi
  trap remove_scratch EXIT
  trap 'exit 130' INT TERM
  export HOME=$scratch
  cd "$scratch"
}

remove_scratch() {
  local pid_file
  while IFS= read -r pid_file; do
    as_server_user "$(pg_bin)/pg_ctl" stop -D "$(dirname "$pid_file")" -m immediate >/dev/null 2>&1 || true
  done < <(find "$scratch" -maxdepth 5 -name postmaster.pid 2>/dev/null)
  cd /
  rm -rf "$scratch"
}

# Test data lies in ../shared beside the repository, or where PG_SEMANTIC_SHARED
# says; what the server's user cannot read there is copied.  The three large
# vocabularies are stored once, beside the checkpoints, and are put in here.
# Exports PG_SEMANTIC_SHARED and PG_SEMANTIC_MODELS.
provide_shared_data() {
  local shared name
  shared=$(realpath -m "${PG_SEMANTIC_SHARED:-$repository/../shared}")
  if [ ! -d "$shared/conformance/models" ]; then
    say "SKIP: no test data in $shared; the tests that need it say so"
    export PG_SEMANTIC_SHARED=$shared PG_SEMANTIC_MODELS=$scratch/models
    return
  fi
  if ! as_server_user test -r "$shared/conformance/models/bert-base/config.json"; then
    mkdir "$scratch/shared"
    cp -R "$shared/conformance" "$shared/models" "$shared/data" "$scratch/shared/"
    shared=$scratch/shared
  fi
  cp -R "$shared/conformance/models" "$scratch/models"
  chmod -R u+w "$scratch/models"
  for name in distilbert-real-uncased:uncased distilbert-cased:cased distilbert-multilingual-cased:multilingual-cased; do
    cp "$shared/data/tokenizer/bert-base-${name#*:}.vocab.txt" "$scratch/models/${name%:*}/vocab.txt"
  done
  chmod -R a+rX "$scratch/models"
  export PG_SEMANTIC_SHARED=$shared PG_SEMANTIC_MODELS=$scratch/models
}

# Whether node is here without Debian's packages of it, with which Debian's
# node-pg cannot be installed.
has_foreign_node() {
  command -v npm >/dev/null && [ "$(dpkg-query -W -f '${db:Status-Status}' node-pg 2>/dev/null || true)" != installed ]
}

# Node's PostgreSQL driver for such a node, in the build directory.
provide_node_pg() {
  local directory=$repository/$BUILD/node
  [ ! -e "$directory/node_modules/pg/package.json" ] || return 0
  say "installing pg for Node into $BUILD/node"
  mkdir -p "$directory"
  npm install --prefix "$directory" --no-save --no-audit --no-fund --no-update-notifier --loglevel=error pg@8 </dev/null ||
    die "npm cannot install pg, which the tests of the client examples run"
}

# The checkpoints of tests/reference/GROUP and what is expected of them, where
# the server's user can read them: $PG_SEMANTIC_REFERENCE/GROUP/{models,expected}/.
provide_reference_checkpoints() {
  local group
  run_make reference-checkpoints
  export PG_SEMANTIC_REFERENCE=$scratch/reference
  for group in "$repository"/tests/reference/*/expected; do
    group=$(basename "$(dirname "$group")")
    mkdir -p "$scratch/reference/$group"
    cp -R "$repository/$BUILD/reference/$group" "$scratch/reference/$group/models"
    cp -R "$repository/tests/reference/$group/expected" "$scratch/reference/$group/expected"
  done
  chmod -R a+rX "$scratch/reference"
}

# run_unit_tests PROGRAM [ARGUMENT …]: runs a program of GoogleTest in processes side by
# side, as many as there are processors, each with its share of the tests; shows what they
# said, and fails when one of them did.  Their output goes to `scratch`.
run_unit_tests() {
  local shards status=0
  # More shares than processors: some take longer than others.
  shards=$((4 * $(nproc)))
  seq 0 $((shards - 1)) | GTEST_TOTAL_SHARDS=$shards xargs -P "$(nproc)" -I{} bash -c \
    'GTEST_SHARD_INDEX=$1 "${@:3}" >"$2/shard$1.log" 2>&1 </dev/null || { echo "failed: share $1 of the tests"; exit 1; }' \
    run_unit_tests {} "$scratch" "$@" || status=$?
  cat "$scratch"/shard*.log
  return "$status"
}

pg_bin() { "$PG_CONFIG" --bindir; }
pg_test_directory() { echo "$(dirname "$("$PG_CONFIG" --pgxs)")/../test"; }

# What Perl tests on PostgreSQL::Test need: a copy of tests/tap for the server's
# user, which becomes the current directory, and their environment.
prepare_tap() {
  local test_directory
  cp -R "$repository/tests/tap" "$scratch/tap"
  mkdir "$scratch/run"
  if is_root; then chown -R postgres "$scratch"; fi
  test_directory=$(pg_test_directory)
  # TESTDIR is PostgreSQL 15's name, the other two are its successors'.
  export TESTDIR=$scratch/run TESTLOGDIR=$scratch/run/tmp_check/log TESTDATADIR=$scratch/run/tmp_check
  export PG_REGRESS=$test_directory/regress/pg_regress PG_TEST_TIMEOUT_DEFAULT=${PG_TEST_TIMEOUT_DEFAULT:-180}
  export PERL5LIB=$test_directory/perl:$scratch/tap${PERL5LIB:+:$PERL5LIB}
  PATH=$(pg_bin):$PATH
  export PATH
  cd "$scratch/tap"
}

# start_server DIRECTORY [setting …]: a new cluster in DIRECTORY/data, reached
# only through a socket in DIRECTORY.  Sets PGHOST, PGPORT, PGUSER for clients.
start_server() {
  local directory=$1 setting
  shift
  as_server_user "$(pg_bin)/initdb" -D "$directory/data" -U "$(server_user)" --auth=trust --encoding=UTF8 \
    --locale=C.UTF-8 >"$directory/initdb.log" 2>&1 || { cat "$directory/initdb.log" >&2; die "initdb failed"; }
  {
    echo "listen_addresses = ''"
    echo "unix_socket_directories = '$directory'"
    echo "port = 5499"
    echo "shared_preload_libraries = 'pg_semantic'"
    echo "timezone = 'UTC'"
    for setting in "$@"; do echo "$setting"; done
  } | as_server_user tee -a "$directory/data/postgresql.conf" >/dev/null
  run_server "$directory"
}

# run_server DIRECTORY: starts the cluster that is there.
run_server() {
  as_server_user "$(pg_bin)/pg_ctl" start -D "$1/data" -l "$1/server.log" -w -t 60 >"$1/start.log" 2>&1 </dev/null ||
    { tail -n 40 "$1/start.log" "$1/server.log" >&2; die "the server does not start"; }
  PGHOST=$1 PGPORT=5499 PGUSER=$(server_user)
  export PGHOST PGPORT PGUSER
}

stop_server() { as_server_user "$(pg_bin)/pg_ctl" stop -D "$1/data" -m fast -w >/dev/null; }

# psql without anybody's start-up file; stops at the first error.
query() { "$(pg_bin)/psql" -X -q -v ON_ERROR_STOP=1 "$@"; }
