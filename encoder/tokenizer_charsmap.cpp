// See tokenizer_charsmap.h.
#include "encoder/tokenizer_charsmap.h"

#include <cstring>
#include <utility>

#include <unicode/uchar.h>

#include "encoder/unicode.h"

namespace pg_semantic::encoder {

namespace {

// Longer clusters are taken apart.
constexpr size_t kGraphemeBytes = 6;

// The parts of a darts-clone unit (Yata, double-array trie; layout as in its header).
bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) == 1; }
uint32_t value_of(uint32_t unit) { return unit & 0x7FFFFFFF; }
uint32_t label_of(uint32_t unit) { return unit & (0x80000000 | 0xFF); }
size_t offset_of(uint32_t unit) { return static_cast<size_t>(unit >> 10) << ((unit & 1u << 9) >> 6); }

// `old_count` characters become those of `content`: surplus ones are added after the others, missing ones are gone
// after the last one.  What goes before the very first character is forgotten, as it is in Hugging Face's tokenizers,
// and offsets lag behind from there on.
void put_replacement(size_t old_count, std::string_view content, std::vector<ChangedCharacter>* out) {
  const size_t first = out->size();
  check_text_size(first + content.size());
  for (size_t i = 0; i < content.size();) out->push_back({next_code_point(content, &i), 0});
  const size_t new_count = out->size() - first;
  for (size_t i = old_count; i < new_count; ++i) (*out)[first + i].change = 1;
  if (new_count < old_count && !out->empty()) out->back().change -= static_cast<int64_t>(old_count - new_count);
}

int cluster_break(char32_t c) { return u_getIntPropertyValue(static_cast<UChar32>(c), UCHAR_GRAPHEME_CLUSTER_BREAK); }

bool is_control(int type) { return type == U_GCB_CONTROL || type == U_GCB_CR || type == U_GCB_LF; }

bool joins(int before, int after) {
  if (before == U_GCB_CR && after == U_GCB_LF) return true;
  if (is_control(before) || is_control(after)) return false;
  if (before == U_GCB_L && (after == U_GCB_L || after == U_GCB_V || after == U_GCB_LV || after == U_GCB_LVT))
    return true;
  if ((before == U_GCB_LV || before == U_GCB_V) && (after == U_GCB_V || after == U_GCB_T)) return true;
  if ((before == U_GCB_LVT || before == U_GCB_T) && after == U_GCB_T) return true;
  return after == U_GCB_EXTEND || after == U_GCB_ZWJ || after == U_GCB_SPACING_MARK || before == U_GCB_PREPEND;
}

}  // namespace

size_t grapheme_end(std::string_view text, size_t start) {
  size_t end = start;
  char32_t c = next_code_point(text, &end);
  if (c < 0x80 && c != '\r' && (end == text.size() || static_cast<unsigned char>(text[end]) < 0x80)) return end;
  int type = cluster_break(c);
  bool pictograph = u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_EXTENDED_PICTOGRAPHIC);
  int regional = type == U_GCB_REGIONAL_INDICATOR ? 1 : 0;
  while (end < text.size()) {
    size_t after = end;
    c = next_code_point(text, &after);
    const int next_type = cluster_break(c);
    const bool next_pictograph = u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_EXTENDED_PICTOGRAPHIC);
    const bool continues_emoji = pictograph && type == U_GCB_ZWJ && next_pictograph;
    const bool pairs_regional = regional == 1 && next_type == U_GCB_REGIONAL_INDICATOR;
    if (!joins(type, next_type) && !continues_emoji && !pairs_regional) break;
    regional = pairs_regional ? 2 : 0;
    if (next_type != U_GCB_EXTEND && next_type != U_GCB_ZWJ) pictograph = next_pictograph;
    type = next_type;
    end = after;
  }
  return end;
}

Result<PrecompiledCharsmap> PrecompiledCharsmap::open(std::string_view bytes) {
  const Status wrong(StatusCode::kCorrupt, "tokenizer's table of character replacements is not valid");
  uint32_t trie_bytes = 0;
  if (bytes.size() < sizeof(trie_bytes)) return wrong;
  memcpy(&trie_bytes, bytes.data(), sizeof(trie_bytes));
  bytes.remove_prefix(sizeof(trie_bytes));
  if (trie_bytes / sizeof(uint32_t) == 0 || trie_bytes > bytes.size()) return wrong;
  PrecompiledCharsmap map;
  map.units_.resize(trie_bytes / sizeof(uint32_t));
  memcpy(map.units_.data(), bytes.data(), map.units_.size() * sizeof(uint32_t));
  map.replacements_ = bytes.substr(map.units_.size() * sizeof(uint32_t));
  if (!is_valid_utf8(map.replacements_)) return wrong;
  map.map_ascii_characters();
  return map;
}

// Every ASCII character is a cluster of its own, but for "\r\n".
void PrecompiledCharsmap::map_ascii_characters() {
  for (unsigned char c = 0; c < 128; ++c) {
    const char character = static_cast<char>(c);
    const std::string_view becomes = replacement({&character, 1}).value_or(std::string_view(&character, 1));
    const bool is_one = becomes.size() == 1 && static_cast<unsigned char>(becomes[0]) < 0x80 && character != '\r';
    ascii_.characters[c] = is_one ? becomes[0] : AsciiMap::kManyOrOther;
  }
}

std::optional<std::string_view> PrecompiledCharsmap::replacement(std::string_view part) const {
  size_t node = offset_of(units_[0]);
  for (const char byte : part) {
    if (byte == 0) break;
    const auto label = static_cast<unsigned char>(byte);
    node ^= label;
    if (node >= units_.size() || label_of(units_[node]) != label) return std::nullopt;
    const uint32_t unit = units_[node];
    node ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size()) return std::nullopt;
    const size_t start = value_of(units_[node]);
    if (start > replacements_.size()) return std::nullopt;
    if (start < replacements_.size() && is_utf8_continuation(replacements_[start])) return std::nullopt;
    const std::string_view rest = std::string_view(replacements_).substr(start);
    return rest.substr(0, rest.find('\0'));
  }
  return std::nullopt;
}

void PrecompiledCharsmap::normalize(AlignedText* text) const {
  if (text->map_ascii(ascii_)) return;
  const std::string_view source = text->text();
  std::vector<ChangedCharacter> characters;
  characters.reserve(source.size());
  bool changed = false;
  const auto replace = [&](std::string_view part) {
    const std::optional<std::string_view> becomes = replacement(part);
    if (!becomes) return false;
    changed = true;
    put_replacement(count_code_points(part), *becomes, &characters);
    return true;
  };
  for (size_t start = 0; start < source.size();) {
    const size_t end = grapheme_end(source, start);
    if (end - start >= kGraphemeBytes || !replace(source.substr(start, end - start))) {
      for (size_t at = start; at < end;) {
        size_t after = at;
        const char32_t c = next_code_point(source, &after);
        if (!replace(source.substr(at, after - at))) characters.push_back({c, 0});
        at = after;
      }
    }
    start = end;
  }
  if (changed) text->transform(characters);
}

}  // namespace pg_semantic::encoder
