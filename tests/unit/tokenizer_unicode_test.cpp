// UTF-8 and the character classes that tokenizers 0.23.2 uses; its own tables
// were asked about every code point named here.
#include "encoder/unicode.h"

#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace pg_semantic::encoder {
namespace {

TEST(Unicode, ValidUtf8) {
  EXPECT_TRUE(is_valid_utf8(""));
  EXPECT_TRUE(is_valid_utf8("plain ASCII, longer than eight bytes"));
  EXPECT_TRUE(is_valid_utf8(std::string_view("\0a", 2)));
  EXPECT_TRUE(is_valid_utf8("\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"));
  for (const std::string_view broken :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf", "\xe2\x82",
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "12345678\xe2\x82", "a\xe2\x28\xa1"}) {
    EXPECT_FALSE(is_valid_utf8(broken));
  }
}

TEST(Unicode, EveryCodePointGoesThereAndBack) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c == 0xD800) c = 0xE000;
    std::string text;
    append_utf8(c, &text);
    size_t position = 0;
    ASSERT_EQ(next_code_point(text, &position), c);
    ASSERT_EQ(position, text.size());
    ASSERT_EQ(previous_code_point(text, text.size()), c);
    ASSERT_TRUE(is_valid_utf8(text));
    ASSERT_EQ(count_code_points(text), 1u);
  }
}

TEST(Unicode, Controls) {
  for (const char32_t c :
       {U'\x01', U'\x7f', U'\x85', U'\xad', U'\u200b', U'\u202e', U'\ufeff', U'\ue000', U'\U0010fffd', U'\U000e0001'}) {
    EXPECT_TRUE(is_bert_control(c)) << std::hex << static_cast<uint32_t>(c);
  }
  // Unassigned, and ARABIC DISPUTED END OF AYAH, a format character of Unicode 9.
  for (const char32_t c : {U'\t', U'\n', U'\r', U'\u0378', U'\uffff', U'\u08e2', U'a', U'\ufffd'}) {
    EXPECT_FALSE(is_bert_control(c)) << std::hex << static_cast<uint32_t>(c);
  }
}

TEST(Unicode, WhiteSpace) {
  for (const char32_t c : {U'\t', U'\v', U' ', U'\x85', U'\u00a0', U'\u1680', U'\u2003', U'\u2028', U'\u3000'}) {
    EXPECT_TRUE(is_white_space(c));
  }
  for (const char32_t c : {U'\u200b', U'\u180e', U'\ufeff', U'\x1c'}) EXPECT_FALSE(is_white_space(c));
}

TEST(Unicode, Punctuation) {
  for (const char32_t c : {U'!', U'$', U'+', U'<', U'^', U'`', U'|', U'~', U'\xa7', U'\xb7', U'\u2014', U'\u3002',
                           U'\uff01', U'\u166d', U'\U000111c9'}) {
    EXPECT_TRUE(is_bert_punctuation(c)) << std::hex << static_cast<uint32_t>(c);
  }
  // Symbols beyond ASCII, and punctuation younger than Unicode 8.
  for (const char32_t c : {U'\u20ac', U'\xb4', U'\xa9', U'\u2e44', U'\U0001144b', U'a', U' '}) {
    EXPECT_FALSE(is_bert_punctuation(c)) << std::hex << static_cast<uint32_t>(c);
  }
}

TEST(Unicode, NonspacingMarks) {
  for (const char32_t c : {U'\u0300', U'\u093c', U'\u3099', U'\ufe0f', U'\u1734', U'\U000e0100'}) {
    EXPECT_TRUE(is_nonspacing_mark(c)) << std::hex << static_cast<uint32_t>(c);
  }
  for (const char32_t c : {U'\u0903', U'\u20dd', U'\u08d4', U'\u1885', U'\ua9bd', U'\U000111c9'}) {
    EXPECT_FALSE(is_nonspacing_mark(c)) << std::hex << static_cast<uint32_t>(c);
  }
}

TEST(Unicode, Ideographs) {
  for (const char32_t c : {U'\u3400', U'\u4e00', U'\u9fff', U'\uf900', U'\U00020000', U'\U0002b920', U'\U0002fa1f'}) {
    EXPECT_TRUE(is_bert_cjk(c));
  }
  for (const char32_t c : {U'\u3042', U'\u30a2', U'\uac00', U'\u4dc0', U'\U0002b820', U'\U00030000'}) {
    EXPECT_FALSE(is_bert_cjk(c));
  }
}

TEST(Unicode, LowerCase) {
  const auto lower = [](char32_t c) {
    char32_t out[2] = {};
    const int count = lower_case(c, out);
    return std::u32string(out, out + count);
  };
  EXPECT_EQ(lower(U'A'), U"a");
  EXPECT_EQ(lower(U'\u0130'), U"i\u0307");
  EXPECT_EQ(lower(U'\u03a3'), U"\u03c3");
  EXPECT_EQ(lower(U'\u1e9e'), U"\u00df");
  EXPECT_EQ(lower(U'\u00df'), U"\u00df");
  EXPECT_EQ(lower(U'\u01c5'), U"\u01c6");
  EXPECT_EQ(lower(U'\U00010400'), U"\U00010428");
  EXPECT_EQ(lower(U'\ua7cb'), U"\u0264");
  EXPECT_EQ(lower(U'\U00010d65'), U"\U00010d85");
  EXPECT_EQ(lower(U'\U00016eb8'), U"\U00016ed3");
  EXPECT_EQ(lower(U'中'), U"中");
}

TEST(Unicode, CanonicalDecomposition) {
  const auto decompose = [](char32_t c) {
    char32_t out[kMaxDecomposition] = {};
    const int count = canonical_decomposition(c, out);
    return std::u32string(out, out + count);
  };
  EXPECT_EQ(decompose(U'é'), U"e\u0301");
  EXPECT_EQ(decompose(U'\u1f82'), U"\u03b1\u0313\u0300\u0345");
  EXPECT_EQ(decompose(U'\uac01'), U"\u1100\u1161\u11a8");
  EXPECT_EQ(decompose(U'\u212b'), U"A\u030a");
  EXPECT_EQ(decompose(U'\uf900'), U"\u8c48");
  EXPECT_EQ(decompose(U'\ufb01'), U"\ufb01");          // only a compatibility decomposition
  EXPECT_EQ(decompose(U'\U00011938'), U"\U00011938");  // decomposes since Unicode 13
  EXPECT_EQ(combining_class(U'\u0301'), 230);
  EXPECT_EQ(combining_class(U'\u0323'), 220);
  EXPECT_EQ(combining_class(U'a'), 0);
  EXPECT_EQ(combining_class(U'\u1abf'), 0);  // class 220 since Unicode 13
}

}  // namespace
}  // namespace pg_semantic::encoder
