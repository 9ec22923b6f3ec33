#!/usr/bin/env bash
# Builds and runs the unit tests; arguments go to GoogleTest (--gtest_filter=…).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
run_make "$BUILD/tests/unit_tests"
make_scratch
provide_shared_data
cd "$repository"
run_unit_tests "$repository/$BUILD/tests/unit_tests" --gtest_brief=1 "$@"
