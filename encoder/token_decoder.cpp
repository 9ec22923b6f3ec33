// See token_decoder.h.
#include "encoder/token_decoder.h"

#include <utility>
#include <vector>

namespace pg_semantic::encoder {

namespace {

std::string replace_all(std::string text, std::span<const std::pair<std::string_view, std::string_view>> replacements) {
  for (const auto& [from, to] : replacements) {
    for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
      text.replace(at, from.size(), to);
    }
  }
  return text;
}

}  // namespace

// tokenizers' decoders::wordpiece::cleanup, which it applies to one token at a time.
std::string clean_up_word_piece(std::string piece) {
  static constexpr std::pair<std::string_view, std::string_view> kReplacements[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  return replace_all(std::move(piece), kReplacements);
}

std::string clean_up_spaces(std::string text) {
  static constexpr std::pair<std::string_view, std::string_view> kReplacements[] = {
      {" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
      {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  return replace_all(std::move(text), kReplacements);
}

std::string decode_tokens(std::span<const std::string> tokens, std::string_view continuing_prefix) {
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string& token = tokens[i];
    if (i == 0) {
      text += clean_up_word_piece(token);
    } else if (token.starts_with(continuing_prefix)) {
      text += clean_up_word_piece(token.substr(continuing_prefix.size()));
    } else {
      text += clean_up_word_piece(" " + token);
    }
  }
  return text;
}

}  // namespace pg_semantic::encoder
