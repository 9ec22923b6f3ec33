#!/usr/bin/env bash
# What the folders may know of each other, and what the libraries show.
# encoder/ and index/ know nothing of PostgreSQL, index/ nothing of text, and only
# extension/ includes the server's headers.  The libraries export nothing but
# what PostgreSQL calls (the static libraries in them would leak a thousand
# names into every backend), and miss nothing of our own.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository"

status=0
forbid() {  # forbid PATTERN REASON PATH…
  local pattern=$1 reason=$2
  shift 2
  if grep -rnE --include='*.h' --include='*.cpp' "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($pattern)" "$@"; then
    say "not ok: $reason"
    status=1
  else
    say "ok: no file of $* includes what it must not: $pattern"
  fi
}

server='postgres\.h|postgres_ext\.h|fmgr\.h|c\.h|access/|catalog/|commands/|executor/|libpq|miscadmin\.h|nodes/|optimizer/|port/|postmaster/|replication/|storage/|tcop/|utils/|extension/'
forbid "$server" "a server header outside extension/" encoder index tests
forbid 'faiss/|rocksdb/|index/' "the encoder includes the index" encoder
forbid 'encoder/(model|tokenizer)\.h' "the index includes text or models" index

# `structure.sh` after a build; `structure.sh sources` looks at no library.
if [ "${1:-}" != sources ]; then
  for library in pg_semantic.so "$BUILD/pg_semantic_worker.so"; do
    exported=$(nm -D --defined-only "$library" | awk '{ print $NF }' |
      grep -vE '^(Pg_magic_func|_PG_init|pg_semantic_[a-z0-9_]+|pg_finfo_[a-z0-9_]+)$' || true)
    missing=$(nm -DC --undefined-only "$library" | grep -E ' pg_semantic::' || true)
    if [ -n "$exported$missing" ]; then
      printf '%s\n' "$exported" "$missing" | head -n 20
      say "not ok: $library exports or misses the names above"
      status=1
    else
      say "ok: $library exports only what PostgreSQL calls and misses nothing of its own"
    fi
  done
fi
exit "$status"
