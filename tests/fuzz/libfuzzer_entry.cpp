// libFuzzer's entry for one target; the build defines PG_SEMANTIC_FUZZ_TARGET as
// its place in kTargets.
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pg_semantic::fuzz::kTargets[PG_SEMANTIC_FUZZ_TARGET].run({data, size});
  return 0;
}
