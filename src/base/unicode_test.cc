#include "base/unicode.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace geist {
namespace {

TEST(Utf8, RoundTripsEveryCodePoint) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    append_utf8(text, c);
    const CodePoint point = decode_utf8(text, 0);
    ASSERT_TRUE(point.valid) << std::hex << static_cast<uint32_t>(c);
    ASSERT_EQ(point.value, c);
    ASSERT_EQ(point.length, text.size());
    ASSERT_EQ(complete_utf8_prefix(text), text.size());
    ASSERT_EQ(complete_utf8_prefix(std::string_view(text).substr(0, text.size() - 1)), 0u);
  }
}

TEST(Utf8, InvalidBytesAreOneEach) {
  for (const std::string_view text :
       {"\x80", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82"}) {
    EXPECT_FALSE(is_valid_utf8(text));
    const CodePoint point = decode_utf8(text, 0);
    EXPECT_FALSE(point.valid);
    EXPECT_EQ(point.length, 1);
  }
}

TEST(Unicode, Classes) {
  EXPECT_TRUE(is_letter(U'é') && is_letter(U'中') && !is_letter(U'1'));
  EXPECT_TRUE(is_number(U'½') && is_number(U'٣'));
  EXPECT_TRUE(is_space(0x3000) && is_space('\n') && !is_space(0x200B));
  EXPECT_TRUE(is_control(0) && is_control(0xFFFE) && !is_control('a'));
  EXPECT_EQ(to_lower(U'Ä'), U'ä');
}

TEST(Unicode, Decomposes) {
  char32_t out[kDecomposedMax];
  EXPECT_EQ(decompose(U'a', out), 1u);
  EXPECT_EQ(out[0], U'a');
  ASSERT_EQ(decompose(U'\u00e9', out), 2u);
  EXPECT_TRUE(out[0] == U'e' && out[1] == U'\u0301');
  ASSERT_EQ(decompose(U'\ud55c', out), 3u);  // Hangul
  EXPECT_TRUE(out[0] == U'\u1112' && out[1] == U'\u1161' && out[2] == U'\u11ab');
  size_t longest = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) longest = std::max(longest, decompose(c, out));
  EXPECT_EQ(longest, kDecomposedMax);
}

}  // namespace
}  // namespace geist
