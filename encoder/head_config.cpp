// See head_config.h.
#include "encoder/head_config.h"

#include <optional>
#include <utility>
#include <vector>

#include "encoder/config_files.h"
#include "encoder/json.h"
#include "encoder/model_names.h"

namespace pg_semantic::encoder {

namespace {

using nlohmann::json;

constexpr int64_t kMaxLabels = 100000;

std::string task_of(std::string_view architecture) {
  static constexpr std::pair<std::string_view, std::string_view> kTasks[] = {
      {"ForSequenceClassification", kSequenceClassification},
      {"ForTokenClassification", kTokenClassification},
      {"ForQuestionAnswering", kQuestionAnswering},
      {"ForMaskedLM", kFillMask},
      {"ForMultipleChoice", kMultipleChoice}};
  for (const auto& [suffix, task] : kTasks) {
    if (architecture.ends_with(suffix)) return std::string(task);
  }
  return "embedding";
}

// id2label in the order of its ids, which are 0 … n - 1.
Result<std::vector<std::string>> read_labels(const json& config, const std::string& path) {
  std::vector<std::string> labels;
  const json* names = json_member(config, "id2label");
  if (names == nullptr) {
    const Result<std::optional<int64_t>> count = json_integer(config, "num_labels", 1, kMaxLabels, path);
    if (!count) return count.status();
    for (int64_t i = 0; i < count->value_or(2); ++i) labels.push_back("LABEL_" + std::to_string(i));
    return labels;
  }
  if (!names->is_object() || names->empty() || names->size() > static_cast<size_t>(kMaxLabels)) {
    return corrupt(path, "The value of \"id2label\" must be an object that names each label.");
  }
  for (size_t id = 0; id < names->size(); ++id) {
    const json* label = json_member(*names, std::to_string(id));
    if (label == nullptr || !label->is_string()) {
      return corrupt(path, "The value of \"id2label\" has " + std::to_string(names->size()) +
                               " labels, but none of the id " + std::to_string(id) + ".");
    }
    labels.push_back(label->get<std::string>());
  }
  return labels;
}

// What sentence-transformers' CrossEncoder makes of its one logit.
Result<Activation> read_score_activation(const json& config, const std::string& path) {
  static const json kNone = json::object();
  const json* settings = json_member(config, "sentence_transformers");
  const std::pair<const json*, const char*> places[] = {{settings != nullptr ? settings : &kNone, "activation_fn"},
                                                        {&config, "sbert_ce_default_activation_function"}};
  for (const auto& [object, key] : places) {
    const Result<std::optional<std::string>> name = json_string(*object, key, path);
    if (!name) return name.status();
    if (!name->has_value()) continue;
    const std::optional<Activation> activation = activation_from_torch_class(**name);
    if (activation) return *activation;
    return unsupported(path, "Its " + std::string(key) + " is \"" + **name + "\".");
  }
  return Activation::kSigmoid;
}

// ELECTRA's sequence_summary, of which its configuration has the parts.
Status read_sequence_summary(const json& config, const std::string& path, HeadConfig* head) {
  const Result<std::optional<std::string>> type = json_string(config, "summary_type", path);
  if (!type) return type.status();
  if (type->value_or("first") != "first") return unsupported(path, "Its summary_type is \"" + **type + "\".");
  PG_SEMANTIC_RETURN_IF_ERROR(take_bool(config, "summary_use_proj", path, &head->transform));
  const Result<std::optional<std::string>> name = json_string(config, "summary_activation", path);
  if (!name) return name.status();
  const bool none = config.contains("summary_activation") && config["summary_activation"].is_null();
  const std::optional<Activation> activation = activation_from_name(none ? "linear" : name->value_or("gelu"));
  if (!activation) return unsupported(path, "Its summary_activation is \"" + **name + "\".");
  head->transform_activation = *activation;
  return Status::ok();
}

// What comes before the projection.
Status read_transform(const json& config, const std::string& path, const ModelConfig& model, HeadConfig* head) {
  const TransformerConfig& t = model.transformer;
  const HeadShape shape = published_head_shape(t.architecture, model.task);
  head->transform = shape.transform;
  head->norm = shape.norm;
  if (shape.transform) head->transform_activation = shape.activation.value_or(t.activation);
  if (model.task == kFillMask) {
    // MobileBERT's projection is wider than its word embedding, the others' is as wide.
    if (t.architecture == Architecture::kMobileBert) {
      head->extra_inputs = t.width - t.word_width();
    } else if (t.word_width() != t.width) {
      head->width = t.word_width();
    }
  } else if (t.architecture == Architecture::kElectra && model.task == kMultipleChoice) {
    return read_sequence_summary(config, path, head);
  } else if (t.architecture == Architecture::kMobileBert && shape.transform) {
    PG_SEMANTIC_RETURN_IF_ERROR(take_bool(config, "classifier_activation", path, &head->transform));
    if (!head->transform) head->transform_activation = Activation::kIdentity;
  }
  return Status::ok();
}

}  // namespace

Status read_head(const json& config, const std::string& path, ModelConfig* model) {
  model->task = task_of(model->architecture_name);
  HeadConfig& head = model->head;
  PG_SEMANTIC_RETURN_IF_ERROR(read_transform(config, path, *model, &head));
  if (model->task == kSequenceClassification || model->task == kTokenClassification) {
    Result<std::vector<std::string>> labels = read_labels(config, path);
    if (!labels) return labels.status();
    model->labels = std::move(*labels);
    head.outputs = static_cast<int64_t>(model->labels.size());
  }
  if (model->task == kSequenceClassification) {
    const Result<std::optional<std::string>> problem = json_string(config, "problem_type", path);
    if (!problem) return problem.status();
    head.multi_label = head.outputs == 1 || problem->value_or("") == "multi_label_classification";
    const Result<Activation> activation = read_score_activation(config, path);
    if (!activation) return activation.status();
    head.score_activation = *activation;
  } else if (model->task == kQuestionAnswering) {
    head.outputs = 2;  // where an answer starts and where it ends
  } else if (model->task == kMultipleChoice) {
    head.outputs = 1;
  } else if (model->task == kFillMask) {
    head.outputs = model->transformer.vocabulary_size;
  }
  return Status::ok();
}

}  // namespace pg_semantic::encoder
