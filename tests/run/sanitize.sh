#!/usr/bin/env bash
# Builds the unit tests with a sanitizer and runs them: `sanitize.sh address`
# (AddressSanitizer and UndefinedBehaviorSanitizer) or `sanitize.sh thread`
# (ThreadSanitizer, those tests that use threads).  More arguments go to the tests
# (--gtest_filter=…).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository"

kind=${1:-address}
shift || true
common="-O1 -g1 -fno-omit-frame-pointer"  # half the build time of the default, and stacks that can be read
# The tests themselves are large and soon run: -Og is a third of their build time less.
build=(TEST_CXXFLAGS=-Og)
case $kind in
  address)
    # vptr needs type information that RocksDB's library is built without.
    flags="-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all $common"
    export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1:${ASAN_OPTIONS:-}
    export UBSAN_OPTIONS=print_stacktrace=1:${UBSAN_OPTIONS:-} ;;
  thread)
    flags="-fsanitize=thread $common"
    # What these tests reach is built; a test that reaches more says so when it is linked.
    tests=(tests/unit/{thread_pool,thread_team,transformer,tokenizer_word_cache,index_concurrency,index_build,index_growth}_test.cpp)
    encoder=(encoder/{cpu_features,json,kernels*,model_tensors,packed_weights,sentencepiece_model,thread_*,token_decoder,tokenizer*,transformer,unicode}.cpp)
    build+=("unit_sources=${tests[*]}" "encoder_sources=${encoder[*]}" fuzz_sources=)
    # A long history: a report whose second stack is lost (of RocksDB's threads, say) fits no suppression.
    export TSAN_OPTIONS=halt_on_error=0:exitcode=66:history_size=7:suppressions=$repository/tests/run/tsan.suppressions:${TSAN_OPTIONS:-} ;;
  *) die "usage: sanitize.sh address|thread [test argument …]" ;;
esac

# Recall over many vectors is arithmetic; the other tests reach the same code.
# ThreadSanitizer cannot follow threads that start in a forked child.
if [ $# = 0 ]; then
  case $kind in
    address) set -- '--gtest_filter=-IndexRecall.*' ;;
    thread) set -- '--gtest_filter=-ThreadPool.WorksInAForkedChild:ThreadFailure.*' ;;
  esac
fi

directory=$BUILD/$kind
BUILD=$directory SANITIZE=$flags run_make "${build[@]}" "$directory/tests/unit_tests"

make_scratch
provide_shared_data
cd "$repository"
# The sanitizers' shadow memory does not fit every randomised address layout.
fixed_layout=()
if setarch "$(uname -m)" -R true 2>/dev/null; then fixed_layout=(setarch "$(uname -m)" -R); fi
run_unit_tests "${fixed_layout[@]}" "$repository/$directory/tests/unit_tests" --gtest_brief=1 "$@"
