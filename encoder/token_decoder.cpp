// See token_decoder.h.
#include "encoder/token_decoder.h"

#include <utility>
#include <vector>

namespace pg_semantic::encoder {

namespace {

// tokenizers' decoders::wordpiece::cleanup, which it applies to one token at a time.
std::string clean_up(std::string token) {
  static constexpr std::pair<std::string_view, std::string_view> kReplacements[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kReplacements) {
    for (size_t at = token.find(from); at != std::string::npos; at = token.find(from, at + to.size())) {
      token.replace(at, from.size(), to);
    }
  }
  return token;
}

}  // namespace

std::string decode_tokens(std::span<const std::string> tokens, std::string_view continuing_prefix) {
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string& token = tokens[i];
    if (i == 0) {
      text += clean_up(token);
    } else if (token.starts_with(continuing_prefix)) {
      text += clean_up(token.substr(continuing_prefix.size()));
    } else {
      text += clean_up(" " + token);
    }
  }
  return text;
}

}  // namespace pg_semantic::encoder
