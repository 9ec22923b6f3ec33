// See tokenizer_decoder.h.
#include "encoder/tokenizer_decoder.h"

#include <charconv>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "encoder/json.h"
#include "encoder/tokenizer_json_values.h"
#include "encoder/token_decoder.h"
#include "encoder/tokenizer_byte_level.h"
#include "encoder/tokenizer_pattern.h"
#include "encoder/unicode.h"

namespace pg_semantic::encoder {

using nlohmann::json;

namespace {

using Tokens = std::vector<std::string>;

constexpr std::string_view kReplacementUtf8 = "\xEF\xBF\xBD";

std::string join(std::span<const std::string> tokens, std::string_view between) {
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) text += between;
    text += tokens[i];
  }
  return text;
}

// Ill-formed sequences become U+FFFD, one for each maximal subpart (Unicode Standard, section 3.9, table 3-8).
std::string repaired_utf8(std::string_view bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size();) {
    size_t end = i;
    const char32_t c = next_code_point(bytes, &end);
    if (c != kReplacementCharacter || end - i == 3) {
      text.append(bytes, i, end - i);
      i = end;
      continue;
    }
    // As far as it could have become a character.
    const auto lead = static_cast<unsigned char>(bytes[i]);
    const size_t length = lead >= 0xF0 && lead <= 0xF4 ? 4 : lead >= 0xE0 && lead < 0xF0 ? 3 : lead >= 0xC2 ? 2 : 1;
    size_t next = i + 1;
    while (next < bytes.size() && next - i < length && is_utf8_continuation(bytes[next])) {
      const auto second = static_cast<unsigned char>(bytes[i + 1]);
      const bool wrong_second = (lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
                                (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F);
      if (next == i + 1 && (wrong_second || lead > 0xF4)) break;
      ++next;
    }
    text += kReplacementUtf8;
    i = next;
  }
  return text;
}

// A token of the byte-level alphabet as bytes, or as it is.
std::string bytes_of(const std::string& token) {
  std::string bytes;
  for (size_t i = 0; i < token.size();) {
    const int byte = byte_of_byte_level(next_code_point(token, &i));
    if (byte < 0) return token;
    bytes.push_back(static_cast<char>(byte));
  }
  return bytes;
}

void decode_byte_level(Tokens* tokens) {
  std::string bytes;
  for (const std::string& token : *tokens) bytes += bytes_of(token);
  *tokens = {repaired_utf8(bytes)};
}

void decode_word_pieces(const std::string& prefix, bool cleans_up, Tokens* tokens) {
  for (size_t i = 0; i < tokens->size(); ++i) {
    std::string& token = (*tokens)[i];
    if (i > 0) token = token.starts_with(prefix) ? token.substr(prefix.size()) : " " + token;
    if (cleans_up) token = clean_up_word_piece(std::move(token));
  }
}

void replace_all(std::string_view from, std::string_view to, std::string* text) {
  if (from.empty()) return;
  std::string replaced;
  size_t copied = 0;
  for (size_t at = text->find(from); at != std::string::npos; at = text->find(from, copied)) {
    replaced.append(*text, copied, at - copied).append(to);
    copied = at + from.size();
  }
  *text = replaced.append(*text, copied);
}

// Of the first token the replacement goes altogether, unless nothing had been put before texts.
void decode_metaspace(const std::string& replacement, bool prepends, Tokens* tokens) {
  for (size_t i = 0; i < tokens->size(); ++i) {
    replace_all(replacement, i == 0 && prepends ? "" : " ", &(*tokens)[i]);
  }
}

void decode_suffixes(const std::string& suffix, Tokens* tokens) {
  for (size_t i = 0; i < tokens->size(); ++i) {
    replace_all(suffix, i + 1 == tokens->size() ? "" : " ", &(*tokens)[i]);
  }
}

std::optional<char> byte_of_fallback(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  unsigned byte = 0;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
  if (error != std::errc() || end != token.data() + 5) return std::nullopt;
  return static_cast<char>(byte);
}

void decode_byte_fallback(Tokens* tokens) {
  Tokens decoded;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (is_valid_utf8(bytes)) {
      decoded.push_back(bytes);
    } else {
      decoded.insert(decoded.end(), bytes.size(), std::string(kReplacementUtf8));
    }
    bytes.clear();
  };
  for (std::string& token : *tokens) {
    if (const std::optional<char> byte = byte_of_fallback(token)) {
      bytes.push_back(*byte);
    } else {
      flush();
      decoded.push_back(std::move(token));
    }
  }
  flush();
  *tokens = std::move(decoded);
}

void strip(const std::string& content, size_t at_start, size_t at_end, Tokens* tokens) {
  for (std::string& token : *tokens) {
    std::string_view rest = token;
    for (size_t i = 0; i < at_start && rest.starts_with(content); ++i) rest.remove_prefix(content.size());
    for (size_t i = 0; i < at_end && rest.ends_with(content); ++i) rest.remove_suffix(content.size());
    token = std::string(rest);
  }
}

void replace_pattern(const TextPattern& pattern, const std::string& content, Tokens* tokens) {
  for (std::string& token : *tokens) {
    std::string replaced;
    size_t copied = 0;
    for (const ByteRange& match : pattern.find_all(token)) {
      replaced.append(token, copied, match.start - copied);
      replaced += content;
      copied = match.end;
    }
    token = replaced.append(token, copied);
  }
}

}  // namespace

Status TokenDecoder::read_into(const json& description, std::vector<Step>* steps) {
  const Result<std::string> type = string_or(description, "type", "(none)");
  if (!type) return type.status();
  if (*type == "Sequence") {
    const json* members = json_member(description, "decoders");
    if (members == nullptr || !members->is_array()) return corrupt_tokenizer("A sequence has no \"decoders\".");
    for (const json& member : *members) PG_SEMANTIC_RETURN_IF_ERROR(read_into(member, steps));
    return Status::ok();
  }
  if (steps->size() >= kMaxTokenizerParts) return corrupt_tokenizer("It has too many parts.");
  if (*type == "ByteLevel") {
    steps->emplace_back(decode_byte_level);
  } else if (*type == "ByteFallback") {
    steps->emplace_back(decode_byte_fallback);
  } else if (*type == "Fuse") {
    steps->emplace_back([](Tokens* tokens) { *tokens = {join(*tokens, "")}; });
  } else if (*type == "WordPiece") {
    const Result<std::string> prefix = string_or(description, "prefix", "##");
    if (!prefix) return prefix.status();
    const Result<std::optional<bool>> cleanup = json_bool(description, "cleanup", kTokenizerJson);
    if (!cleanup) return cleanup.status();
    steps->emplace_back([prefix = *prefix, cleans_up = cleanup->value_or(true)](Tokens* tokens) {
      decode_word_pieces(prefix, cleans_up, tokens);
    });
  } else if (*type == "Metaspace") {
    const Result<std::string> replacement = string_or(description, "replacement", "\xE2\x96\x81");
    if (!replacement) return replacement.status();
    const Result<std::string> scheme = string_or(description, "prepend_scheme", "always");
    if (!scheme) return scheme.status();
    const Result<std::optional<bool>> prefix = json_bool(description, "add_prefix_space", kTokenizerJson);
    if (!prefix) return prefix.status();
    steps->emplace_back([replacement = *replacement, prepends = *scheme != "never" && prefix->value_or(true)](
                            Tokens* tokens) { decode_metaspace(replacement, prepends, tokens); });
  } else if (*type == "BPEDecoder") {
    const Result<std::string> suffix = string_or(description, "suffix", "</w>");
    if (!suffix) return suffix.status();
    steps->emplace_back([suffix = *suffix](Tokens* tokens) { decode_suffixes(suffix, tokens); });
  } else if (*type == "Strip") {
    const Result<std::string> content = string_or(description, "content", "");
    if (!content) return content.status();
    const Result<std::optional<int64_t>> start = json_integer(description, "start", 0, INT32_MAX, kTokenizerJson);
    if (!start) return start.status();
    const Result<std::optional<int64_t>> stop = json_integer(description, "stop", 0, INT32_MAX, kTokenizerJson);
    if (!stop) return stop.status();
    if (content->empty()) return corrupt_tokenizer("A decoder has no \"content\".");
    steps->emplace_back([content = *content, start = start->value_or(0), stop = stop->value_or(0)](Tokens* tokens) {
      strip(content, static_cast<size_t>(start), static_cast<size_t>(stop), tokens);
    });
  } else if (*type == "Replace") {
    Result<std::unique_ptr<TextPattern>> pattern = read_text_pattern(description);
    if (!pattern) return pattern.status();
    const Result<std::string> content = string_or(description, "content", "");
    if (!content) return content.status();
    steps->emplace_back([pattern = std::shared_ptr<TextPattern>(std::move(*pattern)),
                         content = *content](Tokens* tokens) { replace_pattern(*pattern, content, tokens); });
  } else {
    return {StatusCode::kUnsupported, "tokenizer decoder \"" + type->substr(0, 100) + "\" is not supported",
            "File \"tokenizer.json\" asks for it."};
  }
  return Status::ok();
}

Result<TokenDecoder> TokenDecoder::read(const json* description) {
  TokenDecoder decoder;
  if (description == nullptr) {
    decoder.steps_.emplace_back([](Tokens* tokens) { *tokens = {join(*tokens, " ")}; });
    return decoder;
  }
  PG_SEMANTIC_RETURN_IF_ERROR(read_into(*description, &decoder.steps_));
  return decoder;
}

std::string TokenDecoder::decode(std::span<const std::string> tokens) const {
  Tokens decoded(tokens.begin(), tokens.end());
  for (const Step& step : steps_) step(&decoded);
  return join(decoded, "");
}

}  // namespace pg_semantic::encoder
