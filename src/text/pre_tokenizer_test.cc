// The cuts of each pre-tokenizer on cases that tell them apart. The expected pieces follow from the
// patterns beside the code; they were checked with a regular-expression engine.
#include "text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace geist::text {
namespace {

using Pieces = std::vector<std::string>;

Pieces cut(std::string_view name, std::string_view text) {
  const Result<PreTokenizer> pre = PreTokenizer::by_name(name);
  if (!pre.ok()) return {pre.error().message};
  Pieces out;
  size_t begin = 0;
  pre->split(text, [&](std::span<const size_t> ends) {
    for (const size_t end : ends) {
      out.emplace_back(text.substr(begin, end - begin));
      begin = end;
    }
  });
  return out;
}

TEST(PreTokenizer, Gpt2) {
  EXPECT_EQ(cut("gpt-2", "Hello world"), (Pieces{"Hello", " world"}));
  EXPECT_EQ(cut("gpt-2", "I'll've 'RE"), (Pieces{"I", "'ll", "'ve", " '", "RE"}));
  EXPECT_EQ(cut("gpt-2", "a  b \n c  "), (Pieces{"a", " ", " b", " \n", " c", "  "}));
  EXPECT_EQ(cut("gpt-2", "x12\u00bd y!?\u4e2d"), (Pieces{"x", "12\u00bd", " y", "!?", "\u4e2d"}));
  EXPECT_EQ(cut("gpt-2", ""), Pieces{});
  EXPECT_EQ(cut("gpt-2", "a\xff\xe2z"),
            (Pieces{"a", "\xff\xe2", "z"}));  // broken bytes are symbols
}

TEST(PreTokenizer, Llama3AndQwen2) {
  EXPECT_EQ(cut("llama-bpe", "It'S 12345 $abc"),
            (Pieces{"It", "'S", " ", "123", "45", " $", "abc"}));
  EXPECT_EQ(cut("qwen2", "a123"), (Pieces{"a", "1", "2", "3"}));
  EXPECT_EQ(cut("llama-bpe", "!\n\n  \n x"), (Pieces{"!\n\n", "  \n", " x"}));
  EXPECT_EQ(cut("llama-bpe", "  \n  a"), (Pieces{"  \n", " ", " a"}));
  EXPECT_EQ(cut("qwen2", "e\u0301t"), (Pieces{"e", "\u0301t"}));  // the mark leads the next word
  EXPECT_EQ(cut("qwen35", "e\u0301t"), Pieces{"e\u0301t"});
}

TEST(PreTokenizer, WordsByCase) {
  EXPECT_EQ(cut("gpt-4o", "HelloWorld don't USA's"),
            (Pieces{"Hello", "World", " don't", " USA's"}));
  EXPECT_EQ(cut("tekken", "don't 12"), (Pieces{"don", "'t", " ", "1", "2"}));
  EXPECT_EQ(cut("gpt-4o", "\u00c9COLE \u00c9cole"), (Pieces{"\u00c9COLE", " \u00c9cole"}));
  EXPECT_EQ(cut("gpt-4o", "A\u4e2dBCd"), (Pieces{"A\u4e2dBCd"}));
  EXPECT_EQ(cut("gpt-4o", "A\u4e2dBC"), (Pieces{"A\u4e2d", "BC"}));
  EXPECT_EQ(cut("gpt-4o", "a//\n1234"), (Pieces{"a", "//\n", "123", "4"}));
}

TEST(PreTokenizer, PassesInSequence) {
  EXPECT_EQ(cut("smollm", "a 12b"), (Pieces{"a", " ", "1", "2", "b"}));
  EXPECT_EQ(cut("falcon", "a+b 1234`x"), (Pieces{"a", "+", "b", " ", "123", "4", "`", "x"}));
  EXPECT_EQ(cut("default", "a`b \u00b2\u00b2 12"),
            (Pieces{"a", "`", "b", " ", "\u00b2\u00b2", " ", "12"}));
  EXPECT_EQ(cut("deepseek-v3", "ab1234\u4e2d\u6587.foo, x"),
            (Pieces{"ab", "123", "4", "\u4e2d\u6587", ".foo", ",", " x"}));
  EXPECT_EQ(cut("deepseek-coder", "a b.\n12 \u4e2d"),
            (Pieces{"a", " b", ".", "\n", "1", "2", " ", "\u4e2d"}));
  EXPECT_EQ(cut("deepseek-llm", "Ab  c\u4e2d, 12  "),
            (Pieces{"Ab", " ", " c", "\u4e2d", ",", " ", "12", "  "}));
  EXPECT_EQ(cut("deepseek-llm", "caf\u00e9 x"), (Pieces{"caf", "\u00e9", " x"}));
  EXPECT_EQ(cut("deepseek-coder", "a \u201cb\u201d $ .c"),
            (Pieces{"a", " ", "\u201c", "b", "\u201d", " $", " .", "c"}));
  EXPECT_EQ(cut("bloom", "a b, c\nd"), (Pieces{"a", " b", ",", " c", "\n", "d"}));
  EXPECT_EQ(cut("viking", "a1 b"), (Pieces{"a", "1", " b"}));
}

TEST(PreTokenizer, UnknownNamesAreAnError) {
  EXPECT_NE(cut("no-such", "a")[0].find("'no-such'"), std::string::npos);
  EXPECT_EQ(cut("", "a 1"), cut("default", "a 1"));
}

TEST(PreTokenizer, PiecesCoverEveryText) {
  RandomStream random(5, "pre-tokenizer test");
  for (const std::string_view name : PreTokenizer::different_names()) {
    for (int i = 0; i < 300; ++i) {
      std::string text;
      for (uint64_t n = random.next_below(60); n > 0; --n)
        text += static_cast<char>(random.next_below(3) == 0 ? random.next_below(256)
                                                            : "aB1 \n'."[random.next_below(7)]);
      std::string joined;
      for (const std::string& piece : cut(name, text)) {
        EXPECT_FALSE(piece.empty());
        joined += piece;
      }
      EXPECT_EQ(joined, text) << name;
    }
  }
}

// split() asserts that no pass looks at a character more than a fixed number of times. These are
// the texts on which a careless matcher would look again and again.
void split_with_all(std::string_view text) {
  for (const std::string_view name : PreTokenizer::different_names()) {
    size_t last = 0;
    PreTokenizer::by_name(name)->split(text,
                                       [&](std::span<const size_t> ends) { last = ends.back(); });
    ASSERT_EQ(last, text.size()) << name;
  }
}

std::string repeated(std::string_view unit, size_t size) {
  std::string text;
  while (text.size() < size) text += unit;
  return text;
}

TEST(PreTokenizer, LooksAtEveryCharacterAFewTimes) {
  for (const std::string_view unit :
       {"a",      "A",      " ",      "\n",   "\r\n", "7",   ".",       "'",  "/",       "\u0301",
        "\u4e2d", "\u3042", "\u3000", "\xE2", "Aa",   " \n", "A\u4e2d", "a'", " \u0301", "1a"})
    for (const std::string_view end : {"", "x", "\n", " "})
      split_with_all(repeated(unit, size_t{1} << 14) += end);
  for (const std::string_view unit : {"a", " ", "\n", "7", "\u0301", "\u4e2d"})
    split_with_all(repeated(unit, size_t{1} << 20));
}

TEST(PreTokenizer, NamesOfPublishedPatterns) {
  EXPECT_EQ(PreTokenizer::name_of_patterns(
                {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
                 "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}),
            "llama-bpe");
  EXPECT_EQ(
      PreTokenizer::name_of_patterns({"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+",
                                      "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", "\\p{N}"}),
      "deepseek-coder");
  EXPECT_EQ(PreTokenizer::name_of_patterns({"(a+)+"}), "");
}

}  // namespace
}  // namespace geist::text
