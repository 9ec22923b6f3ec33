#!/usr/bin/env bash
# The unit tests that compare the encoder with references, on the kernels of lesser
# processors than this one: those that are portable, and those for AVX2.  (The unit
# tests of kernels run each build that the processor has anyway.)  More arguments go to GoogleTest.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
run_make "$BUILD/tests/unit_tests"
make_scratch
provide_shared_data
cd "$repository"
status=0
for level in portable avx2; do
  say "-- PG_SEMANTIC_VECTOR_LEVEL=$level"
  PG_SEMANTIC_VECTOR_LEVEL=$level run_unit_tests "$repository/$BUILD/tests/unit_tests" --gtest_brief=1 \
    --gtest_filter='*EmbeddingConformance*:*PrecisionConformance*:*HeadConformance*:*EmbeddingStyles*:Transformer.*' "$@" ||
    status=$?
done
exit "$status"
