// real[] as vectors, and the distances between them.
#include "extension/vectors.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "encoder/sha256.h"
#include "extension/guard.h"
#include "index/engine.h"

namespace pg_semantic {
namespace {

void check_same_length(FloatView a, FloatView b) {
  if (a.size() != b.size())
    ereport(ERROR,
            (errcode(ERRCODE_DATA_EXCEPTION), errmsg("different vector dimensions %zu and %zu", a.size(), b.size())));
}

struct Products {
  double ab = 0, aa = 0, bb = 0;
};

// Four partial sums: the compiler may not reorder a sum of doubles by itself.
Products products(FloatView a, FloatView b) {
  constexpr size_t kLanes = 4;
  double ab[kLanes] = {}, aa[kLanes] = {}, bb[kLanes] = {};
  const size_t size = a.size();
  const auto add = [&](size_t lane, size_t i) {
    const double x = a[i], y = b[i];
    ab[lane] += x * y;
    aa[lane] += x * x;
    bb[lane] += y * y;
  };
  size_t i = 0;
  for (; i + kLanes <= size; i += kLanes)
    for (size_t lane = 0; lane < kLanes; ++lane) add(lane, i + lane);
  for (; i < size; ++i) add(0, i);
  return {(ab[0] + ab[1]) + (ab[2] + ab[3]), (aa[0] + aa[1]) + (aa[2] + aa[3]), (bb[0] + bb[1]) + (bb[2] + bb[3])};
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
  const Products sums = products(a, b);
  // Floats' squares and their sums fit a double by far, and so does the product.
  const double norms = std::sqrt(sums.aa) * std::sqrt(sums.bb);
  if (norms == 0) return get_float8_nan();
  return 1.0 - std::clamp(sums.ab / norms, -1.0, 1.0);
}

double l2_distance(FloatView a, FloatView b) {
  check_same_length(a, b);
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += difference * difference;
  }
  return std::sqrt(sum);
}

double negative_inner_product(FloatView a, FloatView b) {
  check_same_length(a, b);
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return -sum;
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
