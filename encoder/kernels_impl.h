// The kernels of kernels.h, written once over GCC's vector extensions and
// compiled three times: the including file sets kVectorFloats (4, 8, 16 floats a
// register) and the size of the product's register tile.
//
// Everything here is in an unnamed namespace and calls nothing of the standard
// library: an inline function shared with the rest of the program could
// otherwise be the copy that was compiled for AVX-512.
//
// Included by kernels_portable.cpp, kernels_avx2.cpp and kernels_avx512.cpp only.

#ifndef PG_SEMANTIC_VECTOR_FLOATS
#error "set PG_SEMANTIC_VECTOR_FLOATS, PG_SEMANTIC_TILE_ROWS and PG_SEMANTIC_TILE_COLUMNS first"
#endif

namespace pg_semantic::encoder {
namespace {

constexpr size_t kWidth = PG_SEMANTIC_VECTOR_FLOATS;
constexpr int kTileRows = PG_SEMANTIC_TILE_ROWS;
constexpr int kTileColumns = PG_SEMANTIC_TILE_COLUMNS;

typedef float Vector __attribute__((vector_size(kWidth * sizeof(float))));
typedef int32_t IntVector __attribute__((vector_size(kWidth * sizeof(float))));
typedef float Vector4 __attribute__((vector_size(16)));
typedef float Vector8 __attribute__((vector_size(32)));

inline Vector load(const float* p) {
  Vector v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}

inline void store(float* p, Vector v) { __builtin_memcpy(p, &v, sizeof(v)); }

// The first n < kWidth floats, zeros after them.
inline Vector load_part(const float* p, size_t n) {
  float lanes[kWidth] = {};
  for (size_t i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}

inline void store_part(float* p, Vector v, size_t n) {
  for (size_t i = 0; i < n; ++i) p[i] = v[i];
}

inline Vector splat(float x) { return x - Vector{}; }

inline Vector maximum(Vector a, Vector b) { return a > b ? a : b; }
inline Vector minimum(Vector a, Vector b) { return a < b ? a : b; }

// Sums of four-lane groups: the first steps of a horizontal sum.
inline Vector4 fold(Vector4 v) { return v; }
#if PG_SEMANTIC_VECTOR_FLOATS >= 8
inline Vector4 fold(Vector8 v) {
  return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
}
#endif
#if PG_SEMANTIC_VECTOR_FLOATS >= 16
inline Vector4 fold(Vector v) {
  return fold(Vector8(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                      __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15)));
}
#endif

inline float sum(Vector v) {
  const Vector4 four = fold(v);
  return (four[0] + four[2]) + (four[1] + four[3]);
}

// The sums of four vectors in one.
inline Vector4 sums(Vector4 a, Vector4 b, Vector4 c, Vector4 d) {
  const Vector4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Vector4 cd = __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);
  return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

// ---- elementary functions ---------------------------------------------------

// e^x to 2 units in the last place; 0 below -87, infinity above 88.37.  Cephes
// expf: x = n ln 2 + r, |r| ≤ ln 2 / 2, a polynomial of degree 6 in r, scaled by 2^n.
inline Vector exponential(Vector x) {
  const Vector clamped = minimum(maximum(x, splat(-87.0f)), splat(88.37f));
  const Vector magic = splat(12582912.0f);  // 1.5 · 2^23: adding it rounds to an integer
  const Vector n = (clamped * 1.44269504088896341f + magic) - magic;
  const Vector r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
  Vector p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const IntVector exponent = (__builtin_convertvector(n, IntVector) + 127) << 23;
  Vector power;
  __builtin_memcpy(&power, &exponent, sizeof(power));
  const Vector result = p * power;
  const Vector bounded = x > splat(88.37f) ? splat(__builtin_inff()) : (x < splat(-87.0f) ? Vector{} : result);
  return x != x ? x : bounded;
}

// erf to 5e-7: the rational approximation on [-4, 4] that Eigen and XLA use.
inline Vector error_function(Vector x) {
  const Vector c = minimum(maximum(x, splat(-4.0f)), splat(4.0f));
  const Vector s = c * c;
  Vector p = splat(-2.72614225801306e-10f);
  p = p * s + 2.77068142495902e-08f;
  p = p * s + -2.10102402082508e-06f;
  p = p * s + -5.69250639462346e-05f;
  p = p * s + -7.34990630326855e-04f;
  p = p * s + -2.95459980854025e-03f;
  p = p * s + -1.60960333262415e-02f;
  Vector q = splat(-1.45660718464996e-05f);
  q = q * s + -2.13374055278905e-04f;
  q = q * s + -1.68282697438203e-03f;
  q = q * s + -7.37332916720468e-03f;
  q = q * s + -1.42647390514189e-02f;
  const Vector result = c * p / q;
  // Beyond 3.8 the distance to ±1 is smaller than the approximation's error.
  const Vector bounded = x > splat(3.8f) ? splat(1.0f) : (x < splat(-3.8f) ? splat(-1.0f) : result);
  return x != x ? x : bounded;
}

inline Vector sigmoid(Vector x) { return 1.0f / (1.0f + exponential(-x)); }

// To 1e-7, absolute.
inline Vector hyperbolic_tangent(Vector x) {
  return 1.0f - 2.0f / (1.0f + exponential(2.0f * x));
}

template <Activation activation>
inline Vector activate(Vector x) {
  switch (activation) {
    case Activation::kIdentity:
      return x;
    case Activation::kGelu:
      return 0.5f * x * (1.0f + error_function(x * 0.70710678118654752f));
    case Activation::kGeluTanh:
      return 0.5f * x * (1.0f + hyperbolic_tangent(0.79788456080286536f * x * (1.0f + 0.044715f * x * x)));
    case Activation::kQuickGelu:
      return x * sigmoid(1.702f * x);
    case Activation::kRelu:
      return x < Vector{} ? Vector{} : x;
    case Activation::kSilu:
      return x * sigmoid(x);
    case Activation::kTanh:
      return hyperbolic_tangent(x);
    case Activation::kSigmoid:
      return sigmoid(x);
  }
  return x;
}

// ---- products ----------------------------------------------------------------

// c[0 .. R, 0 .. C) = scale · a · bᵀ, both read along `inner`.
template <int R, int C>
void transposed_tile(size_t inner, float scale, ConstMatrix a, ConstMatrix b, Matrix c) {
  Vector total[R][C] = {};
  size_t k = 0;
  for (; k + kWidth <= inner; k += kWidth) {
    Vector columns[C];
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) columns[j] = load(b.data + j * b.stride + k);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const Vector row = load(a.data + i * a.stride + k);
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) total[i][j] += row * columns[j];
    }
  }
  if (k < inner) {
    Vector columns[C];
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) columns[j] = load_part(b.data + j * b.stride + k, inner - k);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const Vector row = load_part(a.data + i * a.stride + k, inner - k);
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) total[i][j] += row * columns[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    Vector4 four[4] = {};
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) four[j] = fold(total[i][j]);
    const Vector4 result = scale * sums(four[0], four[1], four[2], four[3]);
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) c.data[i * c.stride + j] = result[j];
  }
}

template <int C>
void transposed_rows(size_t rows, size_t inner, float scale, ConstMatrix a, ConstMatrix b, Matrix c) {
  size_t i = 0;
  const auto at = [&](auto tile) {
    tile(inner, scale, {a.data + i * a.stride, a.stride}, b, {c.data + i * c.stride, c.stride});
  };
  for (; i + kTileRows <= rows; i += kTileRows) at(transposed_tile<kTileRows, C>);
  static_assert(kTileRows == 4);
  switch (rows - i) {
    case 3:
      return at(transposed_tile<3, C>);
    case 2:
      return at(transposed_tile<2, C>);
    case 1:
      return at(transposed_tile<1, C>);
    default:
      return;
  }
}

// Rows are taken in groups that stay in the cache while all of b streams by.
constexpr size_t kRowGroup = 96;

void multiply_transposed(ProductShape shape, float scale, ConstMatrix a, ConstMatrix b, Matrix c) {
  for (size_t first = 0; first < shape.rows; first += kRowGroup) {
    const size_t rows = shape.rows - first < kRowGroup ? shape.rows - first : kRowGroup;
    const ConstMatrix group = {a.data + first * a.stride, a.stride};
    size_t j = 0;
    const auto at = [&](auto tiles) {
      tiles(rows, shape.inner, scale, group, {b.data + j * b.stride, b.stride},
            {c.data + first * c.stride + j, c.stride});
    };
    for (; j + kTileColumns <= shape.columns; j += kTileColumns) at(transposed_rows<kTileColumns>);
    for (; j < shape.columns; ++j) at(transposed_rows<1>);
  }
}

// c[0 .. R, 0 .. C · kWidth) = a · b, b read row by row.
template <int R, int C>
void plain_tile(size_t inner, ConstMatrix a, ConstMatrix b, Matrix c) {
  Vector total[R][C] = {};
  for (size_t k = 0; k < inner; ++k) {
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      const Vector column = load(b.data + k * b.stride + j * kWidth);
#pragma GCC unroll 8
      for (int i = 0; i < R; ++i) total[i][j] += a.data[i * a.stride + k] * column;
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) store(c.data + i * c.stride + j * kWidth, total[i][j]);
  }
}

// The last columns, fewer than a register holds.
void plain_tail(size_t columns, size_t inner, ConstMatrix a, ConstMatrix b, Matrix c) {
  Vector total = {};
  for (size_t k = 0; k < inner; ++k) total += a.data[k] * load_part(b.data + k * b.stride, columns);
  store_part(c.data, total, columns);
}

template <int R>
void plain_rows(size_t columns, size_t inner, ConstMatrix a, ConstMatrix b, Matrix c) {
  constexpr int kWide = kWidth == 16 ? 4 : 2;
  size_t j = 0;
  for (; j + kWide * kWidth <= columns; j += kWide * kWidth) {
    plain_tile<R, kWide>(inner, a, {b.data + j, b.stride}, {c.data + j, c.stride});
  }
  for (; j + kWidth <= columns; j += kWidth) {
    plain_tile<R, 1>(inner, a, {b.data + j, b.stride}, {c.data + j, c.stride});
  }
  if (j == columns) return;
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    plain_tail(columns - j, inner, {a.data + i * a.stride, a.stride}, {b.data + j, b.stride},
               {c.data + i * c.stride + j, c.stride});
  }
}

void multiply(ProductShape shape, ConstMatrix a, ConstMatrix b, Matrix c) {
  size_t i = 0;
  const auto at = [&](auto tiles) {
    tiles(shape.columns, shape.inner, {a.data + i * a.stride, a.stride}, b, {c.data + i * c.stride, c.stride});
  };
  for (; i + 4 <= shape.rows; i += 4) at(plain_rows<4>);
  for (; i < shape.rows; ++i) at(plain_rows<1>);
}

// ---- row by row --------------------------------------------------------------

template <Activation activation>
void add_bias_rows(size_t rows, size_t columns, const float* bias, float* x) {
  for (size_t r = 0; r < rows; ++r, x += columns) {
    size_t c = 0;
    for (; c + kWidth <= columns; c += kWidth) {
      const Vector value = bias == nullptr ? load(x + c) : load(x + c) + load(bias + c);
      store(x + c, activate<activation>(value));
    }
    if (c == columns) continue;
    Vector value = load_part(x + c, columns - c);
    if (bias != nullptr) value += load_part(bias + c, columns - c);
    store_part(x + c, activate<activation>(value), columns - c);
  }
}

void add_bias(size_t rows, size_t columns, const float* bias, Activation activation, float* x) {
  switch (activation) {
    case Activation::kIdentity:
      return add_bias_rows<Activation::kIdentity>(rows, columns, bias, x);
    case Activation::kGelu:
      return add_bias_rows<Activation::kGelu>(rows, columns, bias, x);
    case Activation::kGeluTanh:
      return add_bias_rows<Activation::kGeluTanh>(rows, columns, bias, x);
    case Activation::kQuickGelu:
      return add_bias_rows<Activation::kQuickGelu>(rows, columns, bias, x);
    case Activation::kRelu:
      return add_bias_rows<Activation::kRelu>(rows, columns, bias, x);
    case Activation::kSilu:
      return add_bias_rows<Activation::kSilu>(rows, columns, bias, x);
    case Activation::kTanh:
      return add_bias_rows<Activation::kTanh>(rows, columns, bias, x);
    case Activation::kSigmoid:
      return add_bias_rows<Activation::kSigmoid>(rows, columns, bias, x);
  }
}

float largest_of(size_t columns, const float* row) {
  float largest = row[0];
  size_t c = 0;
  if (columns >= kWidth) {
    Vector lanes = load(row);
    for (c = kWidth; c + kWidth <= columns; c += kWidth) lanes = maximum(load(row + c), lanes);
    for (size_t i = 0; i < kWidth; ++i) largest = lanes[i] > largest ? lanes[i] : largest;
  }
  for (; c < columns; ++c) largest = row[c] > largest ? row[c] : largest;
  return largest;
}

void softmax(size_t rows, size_t columns, Matrix x) {
  for (size_t r = 0; r < rows; ++r) {
    float* row = x.data + r * x.stride;
    const float largest = largest_of(columns, row);
    Vector total = {};
    size_t c = 0;
    for (; c + kWidth <= columns; c += kWidth) {
      const Vector power = exponential(load(row + c) - largest);
      total += power;
      store(row + c, power);
    }
    float rest = 0;
    if (c < columns) {
      const Vector power = exponential(load_part(row + c, columns - c) - largest);
      store_part(row + c, power, columns - c);
      for (size_t i = c; i < columns; ++i) rest += row[i];
    }
    const float scale = 1.0f / (sum(total) + rest);
    for (c = 0; c + kWidth <= columns; c += kWidth) store(row + c, load(row + c) * scale);
    for (; c < columns; ++c) row[c] *= scale;
  }
}

// Two passes over the row, for the mean and for the variance about it: with fp32
// sums in kWidth lanes the error stays at a few units in the last place.
void normalize_row(size_t columns, const LayerNormWeights& norm, float* x) {
  Vector lanes = {};
  size_t c = 0;
  for (; c + kWidth <= columns; c += kWidth) lanes += load(x + c);
  double total = sum(lanes);
  for (; c < columns; ++c) total += x[c];
  const float mean = static_cast<float>(total / static_cast<double>(columns));

  lanes = Vector{};
  for (c = 0; c + kWidth <= columns; c += kWidth) {
    const Vector centred = load(x + c) - mean;
    lanes += centred * centred;
  }
  double squares = sum(lanes);
  for (; c < columns; ++c) squares += static_cast<double>(x[c] - mean) * (x[c] - mean);
  const double variance = squares / static_cast<double>(columns);
  const float scale = static_cast<float>(1.0 / __builtin_sqrt(variance + static_cast<double>(norm.epsilon)));

  for (c = 0; c + kWidth <= columns; c += kWidth) {
    store(x + c, (load(x + c) - mean) * scale * load(norm.weight + c) + load(norm.bias + c));
  }
  for (; c < columns; ++c) x[c] = (x[c] - mean) * scale * norm.weight[c] + norm.bias[c];
}

void add_layer_norm(size_t rows, size_t columns, const float* delta, const float* delta_bias,
                    const LayerNormWeights& norm, float* x) {
  for (size_t r = 0; r < rows; ++r, x += columns) {
    if (delta != nullptr) {
      size_t c = 0;
      for (; c + kWidth <= columns; c += kWidth) store(x + c, load(x + c) + (load(delta + c) + load(delta_bias + c)));
      for (; c < columns; ++c) x[c] += delta[c] + delta_bias[c];
      delta += columns;
    }
    normalize_row(columns, norm, x);
  }
}

constexpr Kernels kKernels = {
    .multiply_transposed = multiply_transposed,
    .multiply = multiply,
    .add_bias = add_bias,
    .softmax = softmax,
    .add_layer_norm = add_layer_norm,
};

}  // namespace
}  // namespace pg_semantic::encoder
