// real[] as vectors, and the distances between them.
#include "extension/vectors.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "encoder/sha256.h"
#include "extension/guard.h"
#include "index/engine.h"
#include "index/vector_sums.h"

namespace pg_semantic {
namespace {

void check_same_length(FloatView a, FloatView b) {
  if (a.size() != b.size())
    ereport(ERROR,
            (errcode(ERRCODE_DATA_EXCEPTION), errmsg("different vector dimensions %zu and %zu", a.size(), b.size())));
}

// The elements of an array that has the form of a vector; nothing where vector_from_array would have to look closer.
FloatView plain_elements(ArrayType* array) {
  if (ARR_ELEMTYPE(array) != FLOAT4OID || ARR_NDIM(array) != 1 || ARR_HASNULL(array)) return {};
  const int size = ARR_DIMS(array)[0];
  if (static_cast<uint32_t>(size) > index::kMaxDimensions) return {};
  return {reinterpret_cast<const float*>(ARR_DATA_PTR(array)), static_cast<size_t>(size)};
}

}  // namespace

FloatView vector_from_array(ArrayType* array) {
  if (ARR_ELEMTYPE(array) != FLOAT4OID)
    ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("a vector must be an array of real")));
  if (ARR_NDIM(array) == 0)
    ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION), errmsg("vector must have at least 1 dimension"),
                    errdetail("The array is empty.")));
  if (ARR_NDIM(array) != 1)
    ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION), errmsg("vector must be a one-dimensional array"),
                    errdetail("The array has %d dimensions.", ARR_NDIM(array))));
  if (array_contains_nulls(array))
    ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("vector must not contain NULL elements")));
  const int size = ARR_DIMS(array)[0];
  if (static_cast<uint32_t>(size) > index::kMaxDimensions)
    ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                    errmsg("vector cannot have more than %u dimensions", index::kMaxDimensions),
                    errdetail("The array has %d elements.", size)));
  const float* data = reinterpret_cast<const float*>(ARR_DATA_PTR(array));
  for (int i = 0; i < size; ++i)
    if (!std::isfinite(data[i]))
      ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
                      errmsg("%s not allowed in vector", std::isnan(data[i]) ? "NaN" : "infinite value"),
                      errdetail("Element %d of the array.", i + 1)));
  return {data, static_cast<size_t>(size)};
}

ArrayType* make_array(FloatView vector) {
  const Size bytes = ARR_OVERHEAD_NONULLS(1) + vector.size_bytes();
  auto* array = static_cast<ArrayType*>(palloc0(bytes));
  SET_VARSIZE(array, bytes);
  array->ndim = 1;
  array->dataoffset = 0;
  array->elemtype = FLOAT4OID;
  ARR_DIMS(array)[0] = static_cast<int>(vector.size());
  ARR_LBOUND(array)[0] = 1;
  std::memcpy(ARR_DATA_PTR(array), vector.data(), vector.size_bytes());
  return array;
}

double cosine_distance(FloatView a, FloatView b) {
  check_same_length(a, b);
  const index::Products sums = index::vector_sums().products(a.data(), b.data(), a.size());
  // Floats' squares and their sums fit a double by far, and so does the product.
  const double norms = std::sqrt(sums.aa) * std::sqrt(sums.bb);
  if (norms == 0) return get_float8_nan();
  return 1.0 - std::clamp(sums.ab / norms, -1.0, 1.0);
}

double l2_distance(FloatView a, FloatView b) {
  check_same_length(a, b);
  return std::sqrt(index::vector_sums().squared_distance(a.data(), b.data(), a.size()));
}

double negative_inner_product(FloatView a, FloatView b) {
  check_same_length(a, b);
  return -index::vector_sums().inner_product(a.data(), b.data(), a.size());
}

double distance_of_arrays(DistanceFunction distance, ArrayType* a, ArrayType* b) {
  const FloatView plain_a = plain_elements(a), plain_b = plain_elements(b);
  if (!plain_a.empty() && plain_a.size() == plain_b.size()) {
    const double result = distance(plain_a, plain_b);
    if (std::isfinite(result)) return result;
  }
  const FloatView checked_a = vector_from_array(a);
  const FloatView checked_b = vector_from_array(b);
  return distance(checked_a, checked_b);
}

ContentHashBytes content_hash(std::string_view bytes) {
  return guarded([&] {
    const encoder::Sha256Digest digest = encoder::sha256(std::as_bytes(std::span(bytes.data(), bytes.size())));
    ContentHashBytes hash;
    std::memcpy(hash.data(), digest.data(), hash.size());
    return hash;
  });
}

}  // namespace pg_semantic
