// config.json and the files of sentence-transformers.  The input is
// split_files()'s; its unnamed file is config.json.
#include "encoder/model_config.h"
#include "encoder/model_directory.h"
#include "encoder/model_names.h"
#include "encoder/model_tensors.h"
#include "tests/fuzz/fuzz.h"

namespace pg_semantic::fuzz {

namespace {

// Whatever passes the checks has tensors of a sensible size and survives its own file's form.
void check_model(const encoder::ModelConfig& config) {
  int64_t parameters = 0;
  for (const encoder::TensorSpec& tensor : encoder::tensor_plan(config)) {
    int64_t values = 0;
    require(tensor.rows > 0 && tensor.columns > 0 && !__builtin_mul_overflow(tensor.rows, tensor.columns, &values),
            "a tensor's size is a positive number");
    require(!__builtin_add_overflow(parameters, values, &parameters), "the number of parameters is a number");
    require(!encoder::published_source(config, tensor, "").names.empty(), "a tensor has a published name");
  }
  require(encoder::embedding_dimensions(config) > 0, "an embedding has dimensions");
  const std::string text = encoder::to_json(config).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const auto again = encoder::config_from_json(text);
  require(again.is_ok(), "a configuration that was checked is read back");
  require(encoder::to_json(*again).dump() == text, "a configuration is the same when read back");
}

}  // namespace

void fuzz_model_directory(Bytes input) {
  std::map<std::string, std::string> files = split_files(input);
  const std::string unnamed = files[""];
  if (!unnamed.empty()) files["config.json"] = unnamed;
  const auto model = encoder::read_model_directory(directory_with(files));
  if (model) {
    check_model(model->config);
  } else {
    require(model.status().code() != StatusCode::kInternal, "a refusal has a reason");
  }
  const auto stored = encoder::config_from_json(unnamed);
  if (stored) check_model(*stored);
}

}  // namespace pg_semantic::fuzz
