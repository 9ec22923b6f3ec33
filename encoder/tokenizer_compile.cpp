// Writes the tokenizer's tables from its configuration; tokenizer_tables.h has
// their layout.
#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "encoder/tokenizer.h"
#include "encoder/tokenizer_normalizer.h"
#include "encoder/tokenizer_pipeline.h"
#include "encoder/tokenizer_tables.h"

namespace pg_semantic::encoder {

namespace {

Status unusable(std::string detail) {
  return {StatusCode::kCorrupt, "tokenizer configuration is not usable", std::move(detail)};
}

std::string quoted(std::string_view text) {
  // Long or broken texts of a broken file do not belong in a message.
  if (text.size() > 64 || !is_valid_utf8(text)) return "(" + std::to_string(text.size()) + " bytes)";
  return "\"" + std::string(text) + "\"";
}

struct CollectText {
  std::string text;
  void emit(char32_t c, CharSpan /*span*/) { append_utf8(c, &text); }
};

NormalizerOptions normalizer_options(const TokenizerConfig& config) {
  return {config.clean_text, config.handle_chinese_chars, config.strip_accents, config.lowercase};
}

// Everything but the bytes: what goes into which section.
class TablesBuilder {
 public:
  explicit TablesBuilder(const TokenizerConfig& config) : config_(config) {}

  Status build(std::vector<std::byte>* out) {
    PG_SEMANTIC_RETURN_IF_ERROR(check_sizes());
    if (config_.pipeline) PG_SEMANTIC_RETURN_IF_ERROR(build_pipeline_sections(config_, &pipeline_));
    PG_SEMANTIC_RETURN_IF_ERROR(place_tokens());
    PG_SEMANTIC_RETURN_IF_ERROR(find_special_tokens());
    PG_SEMANTIC_RETURN_IF_ERROR(place_added_tokens());
    PG_SEMANTIC_RETURN_IF_ERROR(place_pieces());
    return write(out);
  }

 private:
  struct Slot {
    uint32_t tag = 0;
    uint32_t id = kEmptySlot;
  };

  [[nodiscard]] Status check_sizes() const {
    const TokenizerConfig& config = config_;
    if (config.vocabulary.empty()) return unusable("The vocabulary is empty.");
    if (config.vocabulary.size() > kMaxTokens || config.added_tokens.size() > kMaxAddedTokens) {
      return unusable("There are more than " + std::to_string(kMaxTokens) + " tokens.");
    }
    if (config.continuing_prefix.size() > kMaxPrefixBytes) return unusable("The continuing prefix is too long.");
    for (size_t id = 0; id < config.vocabulary.size(); ++id) {
      const std::string& piece = config.vocabulary[id];
      if (piece.size() > kMaxTokenBytes || !is_valid_utf8(piece)) {
        return unusable("The token with the id " + std::to_string(id) + " is too long or is not UTF-8.");
      }
    }
    const size_t id_limit = config.vocabulary.size() + config.added_tokens.size();
    for (const AddedToken& token : config.added_tokens) {
      if (token.id < 0 || static_cast<size_t>(token.id) >= std::min<size_t>(id_limit, kMaxTokens)) {
        return unusable("The added token " + quoted(token.content) + " has the id " + std::to_string(token.id) +
                        ", which is out of range.");
      }
      if (token.content.empty() || token.content.size() > kMaxTokenBytes || !is_valid_utf8(token.content)) {
        return unusable("The added token with the id " + std::to_string(token.id) +
                        " is empty or too long or not UTF-8.");
      }
    }
    return Status::ok();
  }

  uint32_t add_to_pool(std::string_view text) {
    const auto offset = static_cast<uint32_t>(pool_.size());
    pool_.append(text);
    return offset;
  }

  // Strings by id: the vocabulary's, then those of added tokens beyond it.
  Status place_tokens() {
    size_t token_count = config_.vocabulary.size();
    std::map<int32_t, const std::string*> beyond;
    for (const AddedToken& token : config_.added_tokens) {
      if (static_cast<size_t>(token.id) < config_.vocabulary.size()) continue;
      beyond[token.id] = &token.content;
      token_count = std::max(token_count, static_cast<size_t>(token.id) + 1);
    }
    for (size_t id = 0; id < token_count; ++id) {
      std::string_view text;
      if (id < config_.vocabulary.size()) {
        text = config_.vocabulary[id];
      } else if (const auto found = beyond.find(static_cast<int32_t>(id)); found != beyond.end()) {
        text = *found->second;
      }
      string_offsets_.push_back(add_to_pool(text));
      if (pool_.size() > kMaxPoolBytes / 2) return unusable("The vocabulary is too large.");
    }
    string_offsets_.push_back(static_cast<uint32_t>(pool_.size()));
    header_.piece_count = static_cast<uint32_t>(config_.vocabulary.size());
    header_.token_count = static_cast<uint32_t>(token_count);
    header_.prefix_bytes = static_cast<uint32_t>(config_.continuing_prefix.size());
    header_.prefix_offset = add_to_pool(config_.continuing_prefix);
    return Status::ok();
  }

  Status find_special_tokens() {
    // Of equal strings the last one counts, as in a vocabulary read into a dictionary.
    const auto find_piece = [&](std::string_view text) {
      for (size_t id = config_.vocabulary.size(); id-- > 0;) {
        if (!text.empty() && config_.vocabulary[id] == text) return static_cast<int32_t>(id);
      }
      return -1;
    };
    const auto find_any = [&](std::string_view text) {
      for (const AddedToken& token : config_.added_tokens) {
        if (token.content == text) return token.id;
      }
      return find_piece(text);
    };
    header_.unknown_id = config_.pipeline ? find_any(config_.unknown_token) : find_piece(config_.unknown_token);
    header_.cls_id = find_any(config_.cls_token);
    header_.sep_id = find_any(config_.sep_token);
    header_.pad_id = find_any(config_.pad_token);
    header_.mask_id = find_any(config_.mask_token);
    if (config_.pipeline) return Status::ok();
    if (header_.unknown_id < 0) return missing("unknown", config_.unknown_token);
    if (header_.cls_id < 0) return missing("classification", config_.cls_token);
    if (header_.sep_id < 0) return missing("separator", config_.sep_token);
    return Status::ok();
  }

  static Status missing(const char* role, std::string_view token) {
    return unusable("The " + std::string(role) + " token " + quoted(token) + " is not in the vocabulary.");
  }

  Status place_added_tokens() {
    std::map<std::string, AddedToken> original;
    std::map<std::string, AddedToken> normalized;
    for (size_t i = 0; i < config_.added_tokens.size(); ++i) {
      const AddedToken& token = config_.added_tokens[i];
      if (!token.normalized) {
        original.insert({token.content, token});
        continue;
      }
      std::string pattern =
          config_.pipeline ? pipeline_.added_patterns[i] : normalize_text(normalizer_options(config_), token.content);
      if (pattern.size() > kMaxTokenBytes) {
        return unusable("The added token with the id " + std::to_string(token.id) + " is too long when normalised.");
      }
      if (!pattern.empty()) normalized.insert({std::move(pattern), token});
    }
    header_.original = place_section(original, &original_records_);
    header_.normalized = place_section(normalized, &normalized_records_);
    if (pool_.size() > kMaxPoolBytes) return unusable("The added tokens are too large.");
    return Status::ok();
  }

  // `tokens` by pattern; std::map and the search of AddedTokenFinder agree on the order of bytes.
  AddedTokenSection place_section(const std::map<std::string, AddedToken>& tokens,
                                  std::vector<AddedTokenRecord>* records) {
    AddedTokenSection section{};
    for (const auto& [pattern, token] : tokens) {
      AddedTokenRecord record{};
      record.pattern_offset = add_to_pool(pattern);
      record.pattern_bytes = static_cast<uint32_t>(pattern.size());
      record.id = token.id;
      record.flags =
          (token.single_word ? kSingleWord : 0u) | (token.lstrip ? kLeftStrip : 0u) | (token.rstrip ? kRightStrip : 0u);
      records->push_back(record);
      const auto first = static_cast<unsigned char>(pattern.front());
      section.first_bytes[first / 32] |= 1u << (first % 32);
    }
    section.count = static_cast<uint32_t>(records->size());
    return section;
  }

  Status place_pieces() {
    // At most half full, and more room until no probe is long.
    uint32_t slot_bits = 4;
    while ((size_t{1} << slot_bits) < 2 * config_.vocabulary.size()) ++slot_bits;
    for (; slot_bits <= 26; ++slot_bits) {
      if (fill_slots(slot_bits)) {
        header_.slot_bits = slot_bits;
        return Status::ok();
      }
    }
    return unusable("The vocabulary does not fit into a hash table.");
  }

  bool fill_slots(uint32_t slot_bits) {
    slots_.assign(size_t{1} << slot_bits, Slot());
    const uint32_t mask = (1u << slot_bits) - 1;
    header_.longest_piece_bytes = 0;
    for (uint32_t id = 0; id < config_.vocabulary.size(); ++id) {
      const std::string& piece = config_.vocabulary[id];
      if (piece.empty()) continue;  // a gap, or a blank line: no text is this piece
      const PieceHash hash = PieceHash().add(piece);
      uint32_t slot = hash.slot(slot_bits);
      uint32_t probe = 0;
      while (slots_[slot].id != kEmptySlot && config_.vocabulary[slots_[slot].id] != piece) {
        slot = (slot + 1) & mask;
        if (++probe >= kMaxProbes) return false;
      }
      slots_[slot] = {hash.tag(), id};
      header_.longest_piece_bytes = std::max(header_.longest_piece_bytes, static_cast<uint32_t>(piece.size()));
    }
    return true;
  }

  Status write(std::vector<std::byte>* out) {
    memcpy(header_.magic, config_.pipeline ? kPipelineMagic : kTablesMagic, sizeof(header_.magic));
    header_.flags = (config_.clean_text ? kCleanText : 0u) | (config_.handle_chinese_chars ? kHandleChineseChars : 0u) |
                    (config_.strip_accents ? kStripAccents : 0u) | (config_.lowercase ? kLowercase : 0u) |
                    (config_.separates_pairs_twice ? kSeparatesPairsTwice : 0u) |
                    (config_.pairs_are_one_segment ? kPairsAreOneSegment : 0u) |
                    (config_.truncates_left ? kTruncatesLeft : 0u) | (config_.cleans_up_spaces ? kCleansUpSpaces : 0u);
    header_.max_input_chars_per_word = config_.max_input_chars_per_word;
    header_.pool_bytes = static_cast<uint32_t>(pool_.size());

    size_t end = sizeof(TablesHeader) + (config_.pipeline ? sizeof(PipelineHeader) : 0);
    const auto reserve = [&](size_t bytes) {
      const size_t offset = end;
      end = (end + bytes + 3) / 4 * 4;
      return static_cast<uint32_t>(offset);
    };
    header_.string_offsets = reserve(string_offsets_.size() * sizeof(uint32_t));
    header_.pool_offset = reserve(pool_.size());
    header_.slots_offset = reserve(slots_.size() * sizeof(Slot));
    header_.original.offset = reserve(original_records_.size() * sizeof(AddedTokenRecord));
    header_.normalized.offset = reserve(normalized_records_.size() * sizeof(AddedTokenRecord));
    if (config_.pipeline) {
      pipeline_.header.components_offset = reserve(pipeline_.components.size());
      pipeline_.header.merges_offset = reserve(pipeline_.merges.size() * sizeof(MergeSlot));
      pipeline_.header.trie_offset = reserve(pipeline_.trie.size() * sizeof(TrieNode));
      pipeline_.header.scores_offset = reserve(pipeline_.scores.size() * sizeof(double));
    }
    if (end > UINT32_MAX) return unusable("The vocabulary is too large.");
    header_.total_bytes = (end + 7) / 8 * 8;

    const size_t begin = (out->size() + 7) / 8 * 8;
    out->resize(begin + header_.total_bytes);
    const auto put = [&](size_t offset, const void* data, size_t bytes) {
      if (bytes > 0) memcpy(out->data() + begin + offset, data, bytes);
    };
    put(0, &header_, sizeof(header_));
    put(header_.string_offsets, string_offsets_.data(), string_offsets_.size() * sizeof(uint32_t));
    put(header_.pool_offset, pool_.data(), pool_.size());
    put(header_.slots_offset, slots_.data(), slots_.size() * sizeof(Slot));
    put(header_.original.offset, original_records_.data(), original_records_.size() * sizeof(AddedTokenRecord));
    put(header_.normalized.offset, normalized_records_.data(), normalized_records_.size() * sizeof(AddedTokenRecord));
    if (config_.pipeline) {
      put(sizeof(header_), &pipeline_.header, sizeof(PipelineHeader));
      put(pipeline_.header.components_offset, pipeline_.components.data(), pipeline_.components.size());
      put(pipeline_.header.merges_offset, pipeline_.merges.data(), pipeline_.merges.size() * sizeof(MergeSlot));
      put(pipeline_.header.trie_offset, pipeline_.trie.data(), pipeline_.trie.size() * sizeof(TrieNode));
      put(pipeline_.header.scores_offset, pipeline_.scores.data(), pipeline_.scores.size() * sizeof(double));
    }
    return Status::ok();
  }

  const TokenizerConfig& config_;
  TablesHeader header_{};
  PipelineSections pipeline_;
  std::string pool_;
  std::vector<uint32_t> string_offsets_;
  std::vector<Slot> slots_;
  std::vector<AddedTokenRecord> original_records_;
  std::vector<AddedTokenRecord> normalized_records_;
};

}  // namespace

std::string normalize_text(const NormalizerOptions& options, std::string_view text) {
  CollectText collected;
  BertNormalizer<CollectText> normalizer(options, &collected);
  for (size_t position = 0; position < text.size();) {
    normalizer.push(next_code_point(text, &position), CharSpan());
  }
  normalizer.flush();
  return std::move(collected.text);
}

Status Tokenizer::compile(const TokenizerConfig& config, std::vector<std::byte>* out) {
  const size_t begin = (out->size() + 7) / 8 * 8;
  PG_SEMANTIC_RETURN_IF_ERROR(TablesBuilder(config).build(out));
  if (!config.pipeline) return Status::ok();
  // What a pipeline consists of is checked where it is read.
  const Result<std::unique_ptr<Tokenizer>> opened = Tokenizer::open(std::span(*out).subspan(begin));
  return opened ? Status::ok() : opened.status();
}

}  // namespace pg_semantic::encoder
