// Chooses a build of the kernels; see kernels.h.
#include "encoder/kernels.h"

namespace pg_semantic::encoder {

extern const Kernels kPortableKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAvx512VnniKernels;

const Kernels& kernels_for(VectorLevel level) {
  switch (level) {
    case VectorLevel::kAvx512Vnni:
      return kAvx512VnniKernels;
    case VectorLevel::kAvx512:
      return kAvx512Kernels;
    case VectorLevel::kAvx2:
      return kAvx2Kernels;
    case VectorLevel::kPortable:
      break;
  }
  return kPortableKernels;
}

}  // namespace pg_semantic::encoder
