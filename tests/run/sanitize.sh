#!/usr/bin/env bash
# Builds the unit tests with a sanitizer and runs them: `sanitize.sh address`
# (AddressSanitizer and UndefinedBehaviorSanitizer) or `sanitize.sh thread`
# (ThreadSanitizer, those tests that use threads).  More arguments go to the tests
# (--gtest_filter=…).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

kind=${1:-address}
shift || true
sources=()  # default: all
common="-O1 -g1 -fno-omit-frame-pointer"  # half the build time of the default, and stacks that can be read
case $kind in
  address)
    # vptr needs type information that RocksDB's library is built without.
    flags="-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all $common"
    export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1:${ASAN_OPTIONS:-}
    export UBSAN_OPTIONS=print_stacktrace=1:${UBSAN_OPTIONS:-} ;;
  thread)
    flags="-fsanitize=thread $common"
    sources=(tests/unit/thread_pool_test.cpp tests/unit/thread_team_test.cpp tests/unit/transformer_test.cpp
      tests/unit/tokenizer_word_cache_test.cpp tests/unit/index_concurrency_test.cpp tests/unit/index_build_test.cpp
      tests/unit/index_growth_test.cpp)
    export TSAN_OPTIONS=halt_on_error=0:exitcode=66:suppressions=$repository/tests/run/tsan.suppressions:${TSAN_OPTIONS:-} ;;
  *) die "usage: sanitize.sh address|thread [test argument …]" ;;
esac

# Recall over many vectors is arithmetic; the other tests reach the same code.
# ThreadSanitizer cannot follow threads that start in a forked child.
if [ $# = 0 ]; then
  case $kind in
    address) set -- '--gtest_filter=-IndexRecall.*' ;;
    thread) set -- '--gtest_filter=-ThreadPool.WorksInAForkedChild' ;;
  esac
fi

directory=$BUILD/$kind
BUILD=$directory SANITIZE=$flags run_make ${sources[@]+"unit_sources=${sources[*]}"} "$directory/tests/unit_tests"

make_scratch
provide_shared_data
cd "$repository"
# The sanitizers' shadow memory does not fit every randomised address layout.
fixed_layout=()
if setarch "$(uname -m)" -R true 2>/dev/null; then fixed_layout=(setarch "$(uname -m)" -R); fi
"${fixed_layout[@]}" "$repository/$directory/tests/unit_tests" --gtest_brief=1 "$@"
