// OpenBLAS, loaded when it is first needed and never linked.
//
// Three things go wrong with a plain dependency on it (OpenBLAS 0.3.21, Debian
// 12): it starts a thread when it is loaded, it takes recent processors for a
// Prescott, and on some processors a chosen kernel computes nonsense.  So it is
// loaded by dlopen() in the process that computes, with the environment it reads
// set for that moment, and tried out before it is believed.
//
// Thread safety: the first call belongs to one thread (it changes the
// environment); after it returned, any thread may call.
#ifndef PG_SEMANTIC_ENCODER_BLAS_H
#define PG_SEMANTIC_ENCODER_BLAS_H

#include <string>

#include "encoder/kernels.h"

namespace pg_semantic::encoder {

struct BlasState {
  bool usable = false;
  std::string core;     // what OpenBLAS says it runs on, e.g. "SkylakeX"
  std::string warning;  // why it is not used, or runs slower than it could; a whole sentence, or empty
};

// Loads the library if it was not tried before.
const BlasState& blas_state();

// c[rows, columns] = a[rows, inner] · b[columns, inner]ᵀ, one thread, by
// OpenBLAS.  Only where blas_state().usable.
void blas_multiply_transposed(ProductShape shape, ConstMatrix a, ConstMatrix b, Matrix c);

// The same by whichever is faster for this shape: OpenBLAS where it has been
// loaded and is usable, or our own kernel.
void multiply_transposed(ProductShape shape, ConstMatrix a, ConstMatrix b, Matrix c);

// Loads OpenBLAS if products of `operations` floating-point operations in all are
// worth the milliseconds that takes: to be called by the main thread before the
// threads of a call multiply.  A session that embeds a query never loads it.
void prepare_multiply(double operations);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_BLAS_H
