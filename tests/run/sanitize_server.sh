#!/usr/bin/env bash
# Runs servers whose two libraries are built with a sanitizer under load:
# `sanitize_server.sh address` (AddressSanitizer and UndefinedBehaviorSanitizer) or
# `sanitize_server.sh thread` (ThreadSanitizer); then the names of TAP tests, by default
# load/server.pl.  Fails when a test does, or when a process of a server had something to report.
#
# The sanitizer's runtime is preloaded into PostgreSQL, which is not instrumented itself:
# `postgres` in an installation of our own, a copy of the one that PG_CONFIG names, is a
# script that does so.  Nothing is installed anywhere else.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository"

kind=${1:-address}
shift || true
common="-O1 -g1 -fno-omit-frame-pointer"
case $kind in
  address)
    # vptr needs type information that RocksDB's library is built without.
    flags="-fsanitize=address,undefined -fno-sanitize=vptr -fsanitize-recover=all $common"
    runtime=libasan.so ;;
  thread)
    flags="-fsanitize=thread $common"
    runtime=libtsan.so ;;
  *) die "usage: sanitize_server.sh address|thread [test …]" ;;
esac

# A tree of links to the sources: PGXS puts pg_semantic.so beside the Makefile, where that of the real build lies.
tree=$repository/$BUILD/server-$kind
mkdir -p "$tree"
for name in Makefile encoder extension index sql tests; do ln -sfn "$repository/$name" "$tree/$name"; done
make_tree() { env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -C "$tree" --no-print-directory BUILD=build SANITIZE="$flags" "$@"; }
make_tree -j"$(nproc)" all

make_scratch
provide_shared_data

# A PostgreSQL finds its directories from where its programs are.
for directory in --bindir --pkglibdir --sharedir; do
  mkdir -p "$scratch/installation$(dirname "$("$PG_CONFIG" $directory)")"
  cp -a "$("$PG_CONFIG" $directory)" "$scratch/installation$(dirname "$("$PG_CONFIG" $directory)")/"
done
directory=$("$PG_CONFIG" --includedir)
mkdir -p "$scratch/installation$(dirname "$directory")"
ln -s "$directory" "$scratch/installation$directory"
PG_CONFIG=$scratch/installation$("$PG_CONFIG" --bindir)/pg_config
make_tree PG_CONFIG="$PG_CONFIG" install >"$tree/install.log"

mkdir "$scratch/sanitizer"
preloaded=$(g++ -print-file-name=$runtime)
# A sanitizer begins with the first malloc(), and has glibc translate a message then.  Were that malloc() the one that
# bindtextdomain() does under its lock for some library's constructor, the process would wait for itself for ever:
# a library whose constructor runs before all others' begins it.
echo '#include <stdlib.h>
__attribute__((constructor)) static void first(void) { free(malloc(1)); }' |
  gcc -O0 -shared -fPIC -Wl,-z,initfirst -x c - -o "$scratch/first.so"
# The sanitizers' shadow memory does not fit every randomised address layout.
fixed_layout=''
if setarch "$(uname -m)" -R true 2>/dev/null; then fixed_layout="setarch $(uname -m) -R"; fi
mv "$(pg_bin)/postgres" "$(pg_bin)/postgres.program"
cat >"$(pg_bin)/postgres" <<SCRIPT
#!/bin/sh
exec $fixed_layout env LD_PRELOAD="$preloaded $scratch/first.so" "\$(dirname "\$0")/postgres.program" "\$@"
SCRIPT
chmod 755 "$(pg_bin)/postgres"
cp "$repository/tests/run/tsan.suppressions" "$scratch/"

prepare_tap
# PostgreSQL leaves frames by longjmp and measures its stack by addresses, and its processes do not free what they have when they end.
common_options=log_path=$scratch/sanitizer/report:halt_on_error=0:exitcode=0
export ASAN_OPTIONS=$common_options:detect_leaks=0:detect_stack_use_after_return=0:strict_string_checks=1:${ASAN_OPTIONS:-}
export UBSAN_OPTIONS=$common_options:print_stacktrace=1:${UBSAN_OPTIONS:-}
export TSAN_OPTIONS=$common_options:history_size=7:report_signal_unsafe=0:suppressions=$scratch/tsan.suppressions:${TSAN_OPTIONS:-}
export PG_TEST_TIMEOUT_DEFAULT=${PG_TEST_TIMEOUT_DEFAULT:-600}

if [ $# = 0 ]; then set -- load/server; fi
scripts=()
for name in "$@"; do
  case $name in
    */*) scripts+=("${name%.pl}.pl") ;;
    *) scripts+=("t/${name%.pl}.pl") ;;
  esac
done
status=0
as_server_user timeout -k 10 1800 prove --timer --failures "${scripts[@]}" || status=$?
rm -rf "$tree/log"
mkdir "$tree/log"
cp -R "$TESTDATADIR/log/." "$tree/log/"
# AddressSanitizer and UndefinedBehaviorSanitizer disagree in one process about log_path: the server's log has reports, too.
cp -R "$scratch/sanitizer" "$tree/log/"
if grep -rhE 'SUMMARY: [A-Za-z]*Sanitizer|: runtime error: ' "$tree/log" >"$scratch/reports"; then
  sort "$scratch/reports" | uniq -c | sort -rn | head -n 50
  say "not ok: processes of the servers had something to report"
  status=1
fi
[ "$status" = 0 ] || say "logs are in $BUILD/server-$kind/log"
exit "$status"
