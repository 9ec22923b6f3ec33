// Times the encoder: DistilBERT-base's shape with random weights, one thread,
// texts of 8 to 512 tokens and a batch of 32 × 128, beside the floor of this
// machine: the operations at the rate of its fused multiply-adds, or the weights
// at the rate of its memory, whichever takes longer.
//
//   encoder_bench [--checkpoint DIRECTORY] [--threads N] [--rounds N]
//
// With --checkpoint the directory (which must not exist) is kept for a peer.
// Prints "shape milliseconds floor ratio", medians.
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "encoder/cpu_features.h"
#include "encoder/model.h"
#include "tests/support/random_checkpoint.h"

namespace {

namespace fs = std::filesystem;
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

__attribute__((target("avx512f"))) void fused_multiply_adds(int64_t count) {
  __m512 lanes[16];
  for (auto& lane : lanes) lane = _mm512_set1_ps(1.0F);
  const __m512 factor = _mm512_set1_ps(0.999F);
  for (int64_t i = 0; i < count; i += 16) {
#pragma GCC unroll 16
    for (auto& lane : lanes) lane = _mm512_fmadd_ps(lane, factor, factor);
  }
  for (int i = 1; i < 16; ++i) lanes[0] += lanes[i];
  volatile float sink = lanes[0][0];
  (void)sink;
}

__attribute__((target("avx2,fma"))) void fused_multiply_adds_256(int64_t count) {
  __m256 lanes[12];
  for (auto& lane : lanes) lane = _mm256_set1_ps(1.0F);
  const __m256 factor = _mm256_set1_ps(0.999F);
  for (int64_t i = 0; i < count; i += 12) {
#pragma GCC unroll 12
    for (auto& lane : lanes) lane = _mm256_fmadd_ps(lane, factor, factor);
  }
  for (int i = 1; i < 12; ++i) lanes[0] += lanes[i];
  volatile float sink = lanes[0][0];
  (void)sink;
}

double operations_per_second() {
  constexpr int64_t kCount = 48'000'000;
  const bool wide = vector_level() == VectorLevel::kAvx512;
  const double seconds =
      median_seconds(7, [&] { wide ? fused_multiply_adds(kCount) : fused_multiply_adds_256(kCount); });
  return 2.0 * (wide ? 16 : 8) * static_cast<double>(kCount) / seconds;
}

double bytes_per_second() {
  const std::vector<uint64_t> data(size_t{512} << 17, 1);  // 512 MiB
  const double seconds = median_seconds(5, [&] {
    uint64_t total[8] = {};
    for (size_t i = 0; i < data.size(); i += 8) {
      for (size_t j = 0; j < 8; ++j) total[j] += data[i + j];
    }
    volatile uint64_t sink = total[0] + total[1] + total[2] + total[3] + total[4] + total[5] + total[6] + total[7];
    (void)sink;
  });
  return static_cast<double>(data.size() * sizeof(uint64_t)) / seconds;
}

// ---- the model ---------------------------------------------------------------------

void write_checkpoint(const std::string& directory) {
  const nlohmann::json config = {{"architectures", {"DistilBertModel"}}, {"model_type", "distilbert"}};
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (int i = 5; i < kVocabulary; ++i) vocabulary += "w" + std::to_string(i) + "\n";
  require(write_random_checkpoint(directory, {{"config.json", config.dump()}, {"vocab.txt", vocabulary}}, 0.02));
}

struct Shape {
  std::string name;
  std::vector<int> lengths;  // of each text, special tokens included
};

std::vector<std::string> texts_of(const Shape& shape) {
  std::mt19937 generator(7);
  std::uniform_int_distribution<int> any(5, kVocabulary - 1);
  std::vector<std::string> texts;
  for (const int length : shape.lengths) {
    std::string& text = texts.emplace_back();
    for (int i = 2; i < length; ++i) text += "w" + std::to_string(any(generator)) + " ";
  }
  return texts;
}

double operations(const Shape& shape) {
  double total = 0;
  for (const double n : shape.lengths) {
    total += kLayers * (2.0 * n * kWidth * (4 * kWidth + 2 * kFeedForward) + 4.0 * n * n * kWidth);
  }
  return total;
}

struct Floor {
  double operations_per_second = 0;
  double bytes_per_second = 0;
  [[nodiscard]] double seconds(const Shape& shape) const {
    constexpr double kWeights = 4.0 * kLayers * kWidth * (4 * kWidth + 2 * kFeedForward);
    return std::max(operations(shape) / operations_per_second, kWeights / bytes_per_second);
  }
};

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (const int length : {8, 16, 32, 64, 128, 256, 512}) all.push_back({std::to_string(length), {length}});
  all.push_back({"32x128", std::vector<int>(32, 128)});
  // Lengths as questions and passages have them: log-normal, 8 to 256.
  Shape mixed{"mixed", {}};
  std::mt19937 generator(3);
  std::lognormal_distribution<double> length(3.6, 0.7);
  for (int i = 0; i < 128; ++i) mixed.lengths.push_back(static_cast<int>(std::clamp(length(generator), 8.0, 256.0)));
  all.push_back(mixed);
  return all;
}

void measure(const Model& model, const Floor& floor, int threads, int rounds) {
  std::printf("%-8s %12s %12s %8s\n", "tokens", "ms", "floor ms", "ratio");
  for (const Shape& shape : shapes()) {
    const std::vector<std::string> texts = texts_of(shape);
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    std::vector<float> out(texts.size() * static_cast<size_t>(model.info().dimensions));
    EmbedOptions options;
    options.threads = threads;
    const int times = shape.lengths.size() > 1 ? std::max(3, rounds / 8) : rounds;
    require(model.embed(views, "", options, out));
    const double seconds = median_seconds(times, [&] { require(model.embed(views, "", options, out)); });
    const double least = floor.seconds(shape) / threads;
    std::printf("%-8s %12.2f %12.2f %8.2f\n", shape.name.c_str(), seconds * 1e3, least * 1e3, seconds / least);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string checkpoint;
  int threads = 1;
  int rounds = 25;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--checkpoint") == 0) checkpoint = argv[i + 1];
    if (std::strcmp(argv[i], "--threads") == 0) threads = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--rounds") == 0) rounds = std::atoi(argv[i + 1]);
  }
  std::string pattern = (fs::temp_directory_path() / "encoder_bench_XXXXXX").string();
  const fs::path directory = mkdtemp(pattern.data());
  if (checkpoint.empty()) checkpoint = (directory / "model").string();
  fs::create_directories(checkpoint);
  write_checkpoint(checkpoint);
  const std::string file = (directory / "model.bin").string();
  require(compile_model(checkpoint, file, {}).status());
  const Result<std::unique_ptr<Model>> model = Model::open(file);
  require(model.status());
  const Floor floor = {operations_per_second(), bytes_per_second()};
  std::printf("floor: %.0f GFLOP/s, %.1f GB/s; %d thread(s)\n", floor.operations_per_second / 1e9,
              floor.bytes_per_second / 1e9, threads);
  measure(**model, floor, threads, rounds);
  fs::remove_all(directory);
  return 0;
}
