// tokenizer.json files of each kind, small and made for the purpose; real ones are golden cases.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace geist::text {
namespace {

using Ids = std::vector<TokenId>;

std::string error_of(std::string_view json, std::string_view config = {}) {
  const Result<Tokenizer> tokenizer = Tokenizer::from_tokenizer_json(json, config);
  return tokenizer.ok() ? "" : tokenizer.error().message;
}

bool refused(std::string_view json, std::string_view part) {
  const std::string message = error_of(json);
  return message.find(part) != std::string::npos && message.find('\n') == std::string::npos;
}

constexpr std::string_view kByteLevel = R"({
  "added_tokens": [{"id": 5, "content": "<s>", "special": true},
                   {"id": 7, "content": "[x]", "special": false, "lstrip": true}],
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
  "post_processor": {"type": "TemplateProcessing",
                     "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]},
  "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4}, "merges": ["a b", ["ab", "c"]]}})";

TEST(TokenizerJson, ByteLevel) {
  const Tokenizer tokenizer = Tokenizer::from_tokenizer_json(kByteLevel).value();
  EXPECT_EQ(tokenizer.encode("abcab"), (Ids{5, 4, 3}));  // the template puts <s> in front
  EXPECT_EQ(tokenizer.encode("a [x]b", {.add_special = false}),
            (Ids{0, 7, 1}));  // [x] takes the space
  EXPECT_EQ(tokenizer.encode("<s>", {.add_special = false, .parse_special = true}), Ids{5});
  EXPECT_EQ(tokenizer.size(), 8);
  EXPECT_EQ(tokenizer.vocabulary().tokens[6], "[PAD6]");  // a hole in the ids
  EXPECT_EQ(tokenizer.vocabulary().pre, "gpt-2");
}

TEST(TokenizerJson, ConfigNamesTheSpecialTokens) {
  const Tokenizer tokenizer =
      Tokenizer::from_tokenizer_json(kByteLevel, R"({"add_bos_token": false, "add_eos_token": true,
                                                     "eos_token": {"content": "<s>"}})")
          .value();
  EXPECT_EQ(tokenizer.encode("ab"), (Ids{3, 5}));
  EXPECT_TRUE(tokenizer.is_end(5));
}

TEST(TokenizerJson, MetaspaceBecomesSentencePiece) {
  const Tokenizer tokenizer = Tokenizer::from_tokenizer_json(R"({
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
                   {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
    "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>",
              "vocab": {"<unk>": 0, "<0xC3>": 1, "<0xA9>": 2, "▁": 3, "a": 4, "b": 5, "▁a": 6, "ab": 7, "ba": 8},
              "merges": ["a b", "▁ a"]}})")
                                  .value();
  EXPECT_EQ(tokenizer.vocabulary().kind, TokenizerKind::kSentencePiece);
  EXPECT_EQ(tokenizer.encode("ab a"), (Ids{3, 7, 6}));  // "a b" goes before "▁ a"
  EXPECT_EQ(tokenizer.encode("ba"), (Ids{3, 5, 4}));    // no merge makes "ba"
  EXPECT_EQ(tokenizer.encode("\u00e9"), (Ids{3, 1, 2}));
  EXPECT_EQ(tokenizer.decode(Ids{3, 7, 6}), "ab a");
}

TEST(TokenizerJson, WordPiece) {
  const Tokenizer tokenizer = Tokenizer::from_tokenizer_json(R"({
    "normalizer": {"type": "BertNormalizer", "lowercase": true}, "pre_tokenizer": {"type": "BertPreTokenizer"},
    "added_tokens": [{"id": 1, "content": "[CLS]", "special": true}, {"id": 2, "content": "[SEP]", "special": true}],
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "go": 3, "##ing": 4}}})")
                                  .value();
  EXPECT_EQ(tokenizer.encode("Going go"), (Ids{1, 3, 4, 3, 2}));
  EXPECT_EQ(tokenizer.decode(Ids{3, 4, 3}), "going go");
}

std::string with(std::string_view from, std::string_view to) {
  std::string json(kByteLevel);
  json.replace(json.find(from), from.size(), to);
  return json;
}

TEST(TokenizerJson, RefusesWhatItDoesNotKnow) {
  EXPECT_TRUE(refused("", "not a JSON object"));
  EXPECT_TRUE(refused("[1]", "not a JSON object"));
  EXPECT_TRUE(refused(std::string(300, '[') + std::string(300, ']'), "nested deeper"));
  EXPECT_TRUE(refused("{}", "model type"));
  EXPECT_TRUE(refused(R"({"model": {"type": "Unigram"}})", "Unigram"));
  EXPECT_TRUE(refused(with(R"("type": "ByteLevel", "add_prefix_space": false)",
                           R"("type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "(a+)+\n"}, "behavior": "Isolated"}, {"type": "ByteLevel"}])"),
                      "(a+)+"));
  EXPECT_TRUE(refused(
      with(R"("pre_tokenizer")", R"("normalizer": {"type": "NFKC"}, "pre_tokenizer")"), "NFKC"));
  EXPECT_TRUE(refused(with(R"("a b")", "17"), "merge 0"));
  EXPECT_TRUE(refused(with(R"("a b")", R"("ab")"), "'ab'"));
}

TEST(TokenizerJson, RefusesIdsThatCannotBe) {
  EXPECT_TRUE(refused(with(R"("a": 0)", R"("a": -1)"), "no number"));
  EXPECT_TRUE(refused(with(R"("a": 0)", R"("a": 1.5)"), "no number"));
  EXPECT_TRUE(refused(with(R"("a": 0)", R"("a": 1)"), "both have the id 1"));
  EXPECT_TRUE(refused(with(R"("id": 7)", R"("id": 16000000)"), "far beyond"));
  EXPECT_TRUE(refused(with(R"("id": 7)", R"("id": 18446744073709551615)"), "at most"));
}

}  // namespace
}  // namespace geist::text
