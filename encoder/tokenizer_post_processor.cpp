// See tokenizer_post_processor.h.
#include "encoder/tokenizer_post_processor.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "encoder/json.h"
#include "encoder/tokenizer_json_values.h"
#include "encoder/tokenizer_tables.h"

namespace pg_semantic::encoder {

using nlohmann::json;

namespace {

constexpr size_t kMaxFrameTokens = 64;

Status unsupported_template(const json& pieces) {
  return {StatusCode::kUnsupported, "tokenizer template is not supported",
          "File \"tokenizer.json\" asks for " + pieces.dump().substr(0, 200) + "."};
}

Result<int32_t> read_id(const json& value) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() >= kMaxTokens) {
    return corrupt_tokenizer("The post-processor has an id that is out of range.");
  }
  return value.get<int32_t>();
}

// ["[SEP]", 102]
Result<int32_t> read_named_id(const json& processor, const char* key) {
  const json* pair = json_member(processor, key);
  if (pair == nullptr || !pair->is_array() || pair->size() != 2) {
    return corrupt_tokenizer("The post-processor has no \"" + std::string(key) + "\".");
  }
  return read_id((*pair)[1]);
}

// A piece of a template, flattened: one of the texts, or a special token.
struct TemplatePiece {
  int text = -1;  // 0 or 1; -1: a special token
  int32_t id = 0;
  int64_t type = 0;
};

Status append_special(const json& processor, const std::string& name, int64_t type, std::vector<TemplatePiece>* out) {
  const json* table = json_member(processor, "special_tokens");
  const json* entry = table != nullptr ? json_member(*table, name) : nullptr;
  const json* ids = entry != nullptr ? json_member(*entry, "ids") : nullptr;
  if (ids == nullptr || !ids->is_array()) return corrupt_tokenizer("The template has a special token without ids.");
  for (const json& value : *ids) {
    const Result<int32_t> id = read_id(value);
    if (!id) return id.status();
    if (out->size() > kMaxFrameTokens + 2) {
      return {StatusCode::kUnsupported, "tokenizer template is not supported",
              "It has more than " + std::to_string(kMaxFrameTokens) + " special tokens."};
    }
    out->push_back({-1, *id, type});
  }
  return Status::ok();
}

Status append_piece(const json& processor, const json& item, std::vector<TemplatePiece>* out) {
  const json* text = json_member(item, "Sequence");
  const json* special = json_member(item, "SpecialToken");
  const json* piece = text != nullptr ? text : special;
  if (piece == nullptr) return corrupt_tokenizer("The template has a piece that is neither text nor special token.");
  const Result<std::optional<std::string>> id = json_string(*piece, "id", kTokenizerJson);
  if (!id) return id.status();
  const Result<std::optional<int64_t>> type = json_integer(*piece, "type_id", 0, INT32_MAX, kTokenizerJson);
  if (!type) return type.status();
  if (!id->has_value()) return corrupt_tokenizer("The template has a piece without \"id\".");
  if (special != nullptr) return append_special(processor, **id, type->value_or(0), out);
  if (**id != "A" && **id != "B") return corrupt_tokenizer("The template has a text that is neither \"A\" nor \"B\".");
  out->push_back({**id == "A" ? 0 : 1, 0, type->value_or(0)});
  return Status::ok();
}

// What stands before, between and after the texts; nullopt for what a frame cannot say.
std::optional<SpecialTokenFrame> frame_of(const std::vector<TemplatePiece>& pieces, int texts) {
  SpecialTokenFrame frame;
  std::vector<int32_t>* const places[] = {&frame.before, texts == 2 ? &frame.between : &frame.after, &frame.after};
  int seen = 0;
  int64_t type = 0;  // types only ascend, from 0 to 1, not before the space between two texts
  for (const TemplatePiece& piece : pieces) {
    if (piece.type < type || piece.type > (texts == 2 && seen > 0 ? 1 : 0)) return std::nullopt;
    if (piece.type == 1 && type == 0) {
      if (seen != 1) return std::nullopt;
      frame.has_second_segment = true;
    }
    type = piece.type;
    if (piece.text < 0) {
      places[seen]->push_back(piece.id);
      if (seen == 1 && texts == 2 && type == 0) ++frame.between_in_first_segment;
    } else if (piece.text != seen++) {
      return std::nullopt;
    }
  }
  if (seen != texts || frame.size() > kMaxFrameTokens) return std::nullopt;
  return frame;
}

Status read_template(const json& processor, PostProcessor* out) {
  for (const auto& [key, texts, frame] : {std::tuple("single", 1, &out->single), std::tuple("pair", 2, &out->pair)}) {
    const json* items = json_member(processor, key);
    if (items == nullptr || !items->is_array())
      return corrupt_tokenizer("The template has no \"" + std::string(key) + "\".");
    std::vector<TemplatePiece> pieces;
    for (const json& item : *items) PG_SEMANTIC_RETURN_IF_ERROR(append_piece(processor, item, &pieces));
    const std::optional<SpecialTokenFrame> read = frame_of(pieces, texts);
    if (!read) return unsupported_template(*items);
    *frame = *read;
  }
  return Status::ok();
}

// [CLS] A [SEP], [CLS] A [SEP] B [SEP]; RoBERTa's has a second [SEP] between, and one type only.
Status read_fixed(const json& processor, bool is_roberta, PostProcessor* out) {
  const Result<int32_t> cls = read_named_id(processor, "cls");
  if (!cls) return cls.status();
  const Result<int32_t> sep = read_named_id(processor, "sep");
  if (!sep) return sep.status();
  out->single.before = out->pair.before = {*cls};
  out->single.after = out->pair.after = out->pair.between = {*sep};
  if (is_roberta) out->pair.between.push_back(*sep);
  out->pair.between_in_first_segment = out->pair.between.size();
  out->pair.has_second_segment = !is_roberta;
  return Status::ok();
}

Status read_trimming(const json& processor, PostProcessor* out) {
  const Result<std::optional<bool>> trims = json_bool(processor, "trim_offsets", kTokenizerJson);
  if (!trims) return trims.status();
  const Result<std::optional<bool>> prefix = json_bool(processor, "add_prefix_space", kTokenizerJson);
  if (!prefix) return prefix.status();
  out->trims_offsets = trims->value_or(true);
  out->adds_prefix_space = prefix->value_or(true);
  return Status::ok();
}

Status read_into(const json& processor, bool* has_frame, PostProcessor* out) {
  const Result<std::optional<std::string>> name = json_string(processor, "type", kTokenizerJson);
  if (!name) return name.status();
  const std::string type = name->value_or("(none)");
  if (type == "Sequence") {
    const json* members = json_member(processor, "processors");
    if (members == nullptr || !members->is_array()) return corrupt_tokenizer("A sequence has no \"processors\".");
    for (const json& member : *members) PG_SEMANTIC_RETURN_IF_ERROR(read_into(member, has_frame, out));
    return Status::ok();
  }
  if (type == "ByteLevel") return read_trimming(processor, out);
  const bool is_roberta = type == "RobertaProcessing";
  if ((type != "TemplateProcessing" && type != "BertProcessing" && !is_roberta) || *has_frame) {
    return {
        StatusCode::kUnsupported, "tokenizer post-processor \"" + type.substr(0, 100) + "\" is not supported",
        *has_frame ? "Another one has put special tokens around the texts." : "File \"tokenizer.json\" asks for it."};
  }
  *has_frame = true;
  if (type == "TemplateProcessing") return read_template(processor, out);
  if (is_roberta) PG_SEMANTIC_RETURN_IF_ERROR(read_trimming(processor, out));
  return read_fixed(processor, is_roberta, out);
}

}  // namespace

Result<PostProcessor> read_post_processor(const json* description) {
  PostProcessor processor;
  processor.pair.has_second_segment = true;
  bool has_frame = false;
  if (description != nullptr) PG_SEMANTIC_RETURN_IF_ERROR(read_into(*description, &has_frame, &processor));
  return processor;
}

}  // namespace pg_semantic::encoder
