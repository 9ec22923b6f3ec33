// See random_checkpoint.h.
#include "tests/support/random_checkpoint.h"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <vector>

#include <nlohmann/json.hpp>

#include "encoder/model_directory.h"
#include "encoder/model_names.h"
#include "encoder/model_tensors.h"

namespace pg_semantic {

namespace {

namespace fs = std::filesystem;

struct Tensor {
  std::string name;
  int64_t count = 0;
  bool random = false;  // else all 1 or all 0
  float constant = 0;
};

// Uniform numbers of a linear congruential generator (Knuth's MMIX).
class UniformValues {
 public:
  explicit UniformValues(double standard_deviation)
      : scale_(static_cast<float>(standard_deviation * std::sqrt(3.0) / (1 << 23))) {}
  float next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<float>(static_cast<int32_t>(state_ >> 40) - (1 << 23)) * scale_;
  }

 private:
  uint64_t state_ = 1;
  float scale_;
};

// What a tensor of one dimension is follows from its name: a bias is 0, a LayerNorm's weight 1.
Tensor describe(const std::string& name, const std::vector<int64_t>& shape) {
  Tensor tensor{name, 1, shape.size() > 1, name.ends_with(".weight") ? 1.0F : 0.0F};
  for (const int64_t size : shape) tensor.count *= size;
  return tensor;
}

Status write_weights(const encoder::ModelConfig& config, const fs::path& path, double standard_deviation) {
  std::vector<Tensor> tensors;
  nlohmann::json header = nlohmann::json::object();
  int64_t offset = 0;
  for (const encoder::TensorSpec& spec : encoder::tensor_plan(config)) {
    const encoder::TensorSource source = encoder::published_source(config, spec, "");
    for (const std::string& name : source.names) {
      tensors.push_back(describe(name, source.shape));
      const int64_t end = offset + tensors.back().count * static_cast<int64_t>(sizeof(float));
      header[name] = {{"dtype", "F32"}, {"shape", source.shape}, {"data_offsets", {offset, end}}};
      offset = end;
    }
  }
  const std::string text = header.dump();
  const uint64_t header_bytes = text.size();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes));
  file << text;
  UniformValues values(standard_deviation);
  std::vector<float> data;
  for (const Tensor& tensor : tensors) {
    data.assign(static_cast<size_t>(tensor.count), tensor.constant);
    if (tensor.random) {
      for (float& value : data) value = values.next();
    }
    file.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size() * sizeof(float)));
  }
  if (file.flush()) return Status::ok();
  return {StatusCode::kIoError, "could not write \"" + path.string() + "\""};
}

}  // namespace

Status write_random_checkpoint(const std::string& directory, const std::map<std::string, std::string>& files,
                               double standard_deviation) {
  for (const auto& [name, content] : files) {
    const fs::path path = fs::path(directory) / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
  }
  const auto described = encoder::read_model_directory(directory);
  if (!described) return described.status();
  return write_weights(described->config, fs::path(directory) / "model.safetensors", standard_deviation);
}

}  // namespace pg_semantic
