// What the encoder benchmark (encoder_bench.py) times: DistilBERT-base's shape
// with random weights.
//
//   encoder_bench make DIRECTORY                   writes the checkpoint
//   encoder_bench compile DIRECTORY PRECISION FILE
//   encoder_bench floor                            the machine's rates, one thread, as JSON
//   encoder_bench serve FILE THREADS               Model::embed()
//   encoder_bench blas                             the same layers with OpenBLAS's products
//
// serve and blas read lines "ROUNDS LENGTH,LENGTH,…" (tokens of each text) and
// answer each with the median in milliseconds.
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "encoder/blas.h"
#include "encoder/cpu_features.h"
#include "encoder/kernels.h"
#include "encoder/model.h"
#include "tests/support/random_checkpoint.h"

namespace {

using namespace pg_semantic;
using namespace pg_semantic::encoder;
using Clock = std::chrono::steady_clock;

constexpr int kLayers = 6, kWidth = 768, kFeedForward = 3072, kVocabulary = 30522;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void require(const Status& status) {
  if (status.is_ok()) return;
  std::fprintf(stderr, "%s\n%s\n", status.message().c_str(), status.detail().c_str());
  std::exit(1);
}

template <typename Work>
double median_seconds(int rounds, const Work& work) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const auto start = Clock::now();
    work();
    times.push_back(seconds_since(start));
  }
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  return times[static_cast<size_t>(rounds) / 2];
}

// ---- the floor ---------------------------------------------------------------------

// The operands stay in registers: asm, so that nothing is folded or stored.
__attribute__((target("avx512f"))) void fused_multiply_adds(int64_t count) {
  __m512 lanes[24] = {};
  const __m512 factor = _mm512_set1_ps(0.999F);
  for (int64_t i = 0; i < count; i += 24) {
#pragma GCC unroll 24
    for (int j = 0; j < 24; ++j) asm volatile("vfmadd231ps %1, %1, %0" : "+v"(lanes[j]) : "v"(factor));
  }
}

__attribute__((target("avx2,fma"))) void fused_multiply_adds_256(int64_t count) {
  __m256 lanes[12] = {};
  const __m256 factor = _mm256_set1_ps(0.999F);
  for (int64_t i = 0; i < count; i += 12) {
#pragma GCC unroll 12
    for (int j = 0; j < 12; ++j) asm volatile("vfmadd231ps %1, %1, %0" : "+x"(lanes[j]) : "x"(factor));
  }
}

__attribute__((target("avx512f,avx512vnni"))) void byte_products(int64_t count) {
  __m512i lanes[24] = {};
  const __m512i factor = _mm512_set1_epi8(3);
  for (int64_t i = 0; i < count; i += 24) {
#pragma GCC unroll 24
    for (int j = 0; j < 24; ++j) asm volatile("vpdpbusd %1, %1, %0" : "+v"(lanes[j]) : "v"(factor));
  }
}

__attribute__((target("avx512f"))) void read_all_512(const std::vector<uint64_t>& data) {
  __m512i lanes[8] = {};
  for (size_t i = 0; i + 64 <= data.size(); i += 64) {
#pragma GCC unroll 8
    for (size_t j = 0; j < 8; ++j) lanes[j] = _mm512_or_si512(lanes[j], _mm512_loadu_si512(data.data() + i + 8 * j));
  }
  for (int j = 1; j < 8; ++j) lanes[0] = _mm512_or_si512(lanes[0], lanes[j]);
  asm volatile("" : : "v"(lanes[0]));
}

__attribute__((target("avx2"))) void read_all_256(const std::vector<uint64_t>& data) {
  __m256i lanes[8] = {};
  for (size_t i = 0; i + 32 <= data.size(); i += 32) {
#pragma GCC unroll 8
    for (size_t j = 0; j < 8; ++j) {
      lanes[j] |= _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data.data() + i + 4 * j));
    }
  }
  for (int j = 1; j < 8; ++j) lanes[0] |= lanes[j];
  asm volatile("" : : "x"(lanes[0]));
}

void print_floor() {
  constexpr int64_t kCount = 48'000'000;
  const VectorLevel level = vector_level();
  const bool wide = level >= VectorLevel::kAvx512;
  nlohmann::json rates;
  const double multiply_adds =
      median_seconds(7, [&] { wide ? fused_multiply_adds(kCount) : fused_multiply_adds_256(kCount); });
  rates["fp32_operations"] = 2.0 * (wide ? 16 : 8) * static_cast<double>(kCount) / multiply_adds;
  if (level == VectorLevel::kAvx512Vnni) {
    rates["int8_operations"] =
        2.0 * 64 * static_cast<double>(kCount) / median_seconds(7, [&] { byte_products(kCount); });
  }
  const std::vector<uint64_t> data(size_t{512} << 17, 1);  // 512 MiB
  const double reading = median_seconds(7, [&] { wide ? read_all_512(data) : read_all_256(data); });
  rates["bytes"] = static_cast<double>(data.size() * sizeof(uint64_t)) / reading;
  std::cout << rates.dump() << "\n";
}

// ---- the model ---------------------------------------------------------------------

void write_checkpoint(const std::string& directory) {
  const nlohmann::json config = {{"architectures", {"DistilBertModel"}}, {"model_type", "distilbert"}};
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (int i = 5; i < kVocabulary; ++i) vocabulary += "w" + std::to_string(i) + "\n";
  std::filesystem::create_directories(directory);
  require(write_random_checkpoint(directory, {{"config.json", config.dump()}, {"vocab.txt", vocabulary}}, 0.02));
}

std::vector<std::string> texts_of(const std::vector<int>& lengths) {
  std::mt19937 generator(7);
  std::uniform_int_distribution<int> any(5, kVocabulary - 1);
  std::vector<std::string> texts;
  for (const int length : lengths) {
    std::string& text = texts.emplace_back();
    for (int i = 2; i < length; ++i) text += "w" + std::to_string(any(generator)) + " ";
  }
  return texts;
}

// Calls answer(rounds, lengths) for every line.
template <typename Answer>
void serve_lines(const Answer& answer) {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    int rounds = 1;
    std::string list;
    words >> rounds >> list;
    std::istringstream numbers(list);
    std::vector<int> lengths;
    for (std::string number; std::getline(numbers, number, ',');) lengths.push_back(std::atoi(number.c_str()));
    std::printf("%.4f\n", answer(std::max(rounds, 1), lengths) * 1e3);
    std::fflush(stdout);
  }
}

void serve_model(const std::string& file, int threads) {
  const Result<std::unique_ptr<Model>> model = Model::open(file);
  require(model.status());
  serve_lines([&](int rounds, const std::vector<int>& lengths) {
    const std::vector<std::string> texts = texts_of(lengths);
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    std::vector<float> out(texts.size() * static_cast<size_t>((*model)->info().dimensions));
    EmbedOptions options;
    options.threads = threads;
    const auto embed = [&] { require((*model)->embed(views, "", options, out)); };
    embed();
    return median_seconds(rounds, embed);
  });
}

// DistilBERT's layers with OpenBLAS for the products (but attention's second,
// which needs another form) and our kernels for everything else: batches of 512
// tokens, as embed() makes them.
class BlasEncoder {
 public:
  BlasEncoder() {
    for (int i = 0; i < kLayers; ++i) {
      for (const auto& [outputs, inputs] : kShapes) weights_.emplace_back(outputs * inputs, 0.01F);
    }
  }

  void run(const std::vector<int>& lengths) {
    std::vector<size_t> batch;
    size_t tokens = 0;
    for (const int length : lengths) {
      if (tokens > 0 && tokens + static_cast<size_t>(length) > 512) {
        run_batch(batch, tokens);
        batch.clear();
        tokens = 0;
      }
      batch.push_back(static_cast<size_t>(length));
      tokens += static_cast<size_t>(length);
    }
    run_batch(batch, tokens);
  }

 private:
  static constexpr size_t kHeads = 12, kHeadWidth = kWidth / kHeads;
  struct Shape {
    size_t outputs, inputs;
  };
  static constexpr Shape kShapes[] = {
      {3 * kWidth, kWidth}, {kWidth, kWidth}, {kFeedForward, kWidth}, {kWidth, kFeedForward}};

  void run_batch(const std::vector<size_t>& lengths, size_t tokens) {
    hidden_.assign(tokens * kWidth, 0.5F);
    projected_.resize(tokens * kWidth);
    context_.resize(tokens * kWidth);
    inputs_.resize(tokens * 3 * kWidth);
    inner_.resize(tokens * kFeedForward);
    for (size_t layer = 0; layer < kLayers; ++layer) {
      project(4 * layer, tokens, hidden_, Activation::kIdentity, &inputs_);
      size_t begin = 0;
      for (const size_t length : lengths) {
        attend(begin, length);
        begin += length;
      }
      project(4 * layer + 1, tokens, context_, Activation::kIdentity, &projected_);
      k_.add_layer_norm(tokens, kWidth, projected_.data(), norm_, hidden_.data());
      project(4 * layer + 2, tokens, hidden_, Activation::kGelu, &inner_);
      project(4 * layer + 3, tokens, inner_, Activation::kIdentity, &projected_);
      k_.add_layer_norm(tokens, kWidth, projected_.data(), norm_, hidden_.data());
    }
  }

  void project(size_t number, size_t tokens, const std::vector<float>& x, Activation activation,
               std::vector<float>* out) {
    const auto& [outputs, inputs] = kShapes[number % 4];
    blas_multiply_transposed({tokens, outputs, inputs}, {x.data(), inputs}, {weights_[number].data(), inputs},
                             {out->data(), outputs});
    k_.add_bias(tokens, outputs, ones_.data(), activation, out->data());
  }

  void attend(size_t begin, size_t length) {
    constexpr size_t kStride = size_t{3} * kWidth;
    scores_.resize(length * length);
    inverse_sums_.resize(length);
    values_.resize(length * kHeadWidth);
    for (size_t head = 0; head < kHeads; ++head) {
      const float* query = inputs_.data() + begin * kStride + head * kHeadWidth;
      blas_multiply_transposed({length, length, kHeadWidth}, {query, kStride}, {query + kWidth, kStride},
                               {scores_.data(), length});
      k_.softmax_numerators(length, length, {scores_.data(), length}, inverse_sums_.data());
      k_.pack(length, kHeadWidth, {query + 2 * kWidth, kStride}, values_.data());
      k_.multiply_panels({length, kHeadWidth, length}, {scores_.data(), length}, values_.data(), inverse_sums_.data(),
                         {context_.data() + begin * kWidth + head * kHeadWidth, kWidth});
    }
  }

  const Kernels& k_ = kernels();
  std::vector<std::vector<float>> weights_;
  std::vector<float> ones_ = std::vector<float>(kFeedForward, 1.0F);
  const LayerNormWeights norm_ = {ones_.data(), ones_.data(), 1e-12F};
  std::vector<float> hidden_, projected_, context_, inputs_, inner_, scores_, inverse_sums_, values_;
};

void serve_blas() {
  std::fprintf(stderr, "OpenBLAS runs as %s\n", blas_state().core.c_str());
  if (!blas_state().usable) std::exit(1);
  BlasEncoder encoder;
  serve_lines([&](int rounds, const std::vector<int>& lengths) {
    encoder.run(lengths);
    return median_seconds(rounds, [&] { encoder.run(lengths); });
  });
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const std::string mode = arguments.empty() ? "" : arguments[0];
  if (mode == "make" && arguments.size() == 2) {
    write_checkpoint(arguments[1]);
  } else if (mode == "compile" && arguments.size() == 4) {
    CompileOptions options;
    options.model_precision = arguments[2];
    require(compile_model(arguments[1], arguments[3], options).status());
  } else if (mode == "floor") {
    print_floor();
  } else if (mode == "serve" && arguments.size() == 3) {
    serve_model(arguments[1], std::atoi(arguments[2].c_str()));
    shut_down_threads();
  } else if (mode == "blas") {
    serve_blas();
  } else {
    std::fprintf(stderr, "usage: see the head of tests/bench/encoder_bench.cpp\n");
    return 2;
  }
  return 0;
}
