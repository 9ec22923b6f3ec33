#!/usr/bin/env bash
# clang-format, clang-tidy, cppcheck, shellcheck and the include rule over the
# whole tree.  Prints what is wrong; exits with 1 where something is.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository"

if [ "${1:-}" = --tidy ]; then  # lint.sh --tidy FILE: clang-tidy with the flags that the Makefile gives the file
  flags=(-std=c++20 -I.)
  case $2 in
    extension/*) flags+=(-isystem "$("$PG_CONFIG" --includedir-server)" -D_GNU_SOURCE -Wno-register) ;;
    *_avx2.cpp) flags+=(-mavx2 -mfma -mf16c) ;;
    *_avx512.cpp) flags+=(-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl) ;;
    *_vnni.cpp) flags+=(-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni) ;;
  esac
  exec clang-tidy --quiet "$2" -- "${flags[@]}" 2>/dev/null
fi

status=0
step() {  # step NAME COMMAND…
  local name=$1
  shift
  say "== $name"
  "$@" || { say "not ok: $name"; status=1; }
}

mapfile -t sources < <(find encoder index extension tests -name '*.cpp' | sort)
mapfile -t headers < <(find encoder index extension tests -name '*.h' | sort)
mapfile -t scripts < <(find tests .ci -type f -name '*.sh' -o -path '.ci/run' | sort)

# One file a process, as many at a time as there are processors.
tidy() { printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} tests/run/lint.sh --tidy {}; }

step "include rules" tests/run/structure.sh sources
step "clang-format" clang-format --dry-run --Werror "${sources[@]}" "${headers[@]}"
step "shellcheck" shellcheck -S warning -x -P SCRIPTDIR "${scripts[@]}"
step "cppcheck" cppcheck --quiet --error-exitcode=1 --std=c++20 --language=c++ --inline-suppr -j "$(nproc)" -I . \
  --enable=warning,performance,portability --suppress=missingInclude --suppress=unknownMacro --suppress=internalAstError \
  encoder index extension
step "clang-tidy" tidy "${sources[@]}"
if [ "$status" = 0 ]; then say "lint: nothing to complain about"; fi
exit "$status"
