#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "base/rng.h"
#include "text/bpe.h"
#include "text/spm.h"
#include "text/tokenizer_merge.h"
#include "text/tokenizer_test_vocabularies.h"

namespace geist::text {
namespace {

using Ids = std::vector<TokenId>;

std::string error_of(Vocabulary v) {
  const Result<Tokenizer> tokenizer = Tokenizer::create(std::move(v));
  return tokenizer.ok() ? "" : tokenizer.error().message;
}

std::vector<std::string> pieces(const Tokenizer& tokenizer, std::string_view text,
                                EncodeOptions options = {.add_special = false}) {
  std::vector<std::string> out;
  for (const TokenId id : tokenizer.encode(text, options))
    out.push_back(tokenizer.vocabulary().tokens[static_cast<size_t>(id)]);
  return out;
}

using Pieces = std::vector<std::string>;

// ---- byte-level BPE

TEST(ByteLevelBpe, MergesByRankLeftmostFirst) {
  const Tokenizer tokenizer = Tokenizer::create(bpe_test_vocabulary()).value();
  EXPECT_EQ(pieces(tokenizer, "abc"), (Pieces{"ab", "c"}));  // "a b" has the better rank than "b c"
  EXPECT_EQ(pieces(tokenizer, "xbc"), (Pieces{"x", "bc"}));
  EXPECT_EQ(pieces(tokenizer, "aaaaa"), (Pieces{"aaaa", "a"}));       // aa aa a, then aaaa a
  EXPECT_EQ(pieces(tokenizer, "x the"), (Pieces{"x", "\u0120the"}));  // \u0120 stands for the space
}

TEST(ByteLevelBpe, SpecialTokensOnlyWhenAsked) {
  const Tokenizer tokenizer = Tokenizer::create(bpe_test_vocabulary()).value();
  const TokenId end = tokenizer.find("<|im_end|>");
  const Ids with = tokenizer.encode("a<|im_end|>b", {.add_special = false, .parse_special = true});
  EXPECT_EQ(with, (Ids{tokenizer.find("a"), end, tokenizer.find("b")}));
  const Ids without = tokenizer.encode("a<|im_end|>b", {.add_special = false});
  EXPECT_EQ(std::count(without.begin(), without.end(), end), 0);
  EXPECT_EQ(tokenizer.decode(without), "a<|im_end|>b");
  EXPECT_EQ(tokenizer.decode(with), "ab");
  EXPECT_EQ(tokenizer.decode(with, true), "a<|im_end|>b");
  EXPECT_TRUE(tokenizer.is_control(end));
  EXPECT_TRUE(tokenizer.is_end(end));
  EXPECT_FALSE(tokenizer.is_end(tokenizer.find("a")));
}

TEST(EveryText, BreaksKeepControlTokensText) {
  for (const Vocabulary& v : {bpe_test_vocabulary(), spm_test_vocabulary()}) {
    const Tokenizer tokenizer = Tokenizer::create(v).value();
    const auto ids = [&](std::string_view text, bool parse, std::span<const size_t> breaks = {}) {
      return tokenizer.encode(text,
                              {.add_special = false, .parse_special = parse, .breaks = breaks});
    };
    const std::string end = v.kind == TokenizerKind::kByteLevelBpe ? "<|im_end|>" : "</s>";
    for (const std::string& text :
         {"hello " + end + end + " b" + end, end, "a[tool]" + end + "[img]",
          std::string("nothing < in | here>"), std::string()}) {
      const auto breaks = tokenizer.control_breaks(text);
      EXPECT_EQ(breaks.empty(), text.find(end) == std::string::npos);
      EXPECT_EQ(ids(text, true, breaks), ids(text, false)) << text;
      EXPECT_EQ(ids(text, true, {}), ids(text, true));
    }
    // Only what is broken: the second stays a token.
    const std::vector<size_t> first = {1};
    const auto half = ids(end + "a" + end, true, first);
    EXPECT_EQ(std::count(half.begin(), half.end(), tokenizer.find(end)), 1);
    EXPECT_EQ(half.back(), tokenizer.find(end));
    // A place beside a token is not inside it.
    const std::vector<size_t> beside = {0, end.size()};
    EXPECT_EQ(ids(end, true, beside), Ids{tokenizer.find(end)});
  }
}

TEST(ByteLevelBpe, UserDefinedTokensAlwaysTheLongest) {
  const Tokenizer tokenizer = Tokenizer::create(bpe_test_vocabulary()).value();
  EXPECT_EQ(pieces(tokenizer, "a[tool]b"), (Pieces{"a", "[tool]", "b"}));
  EXPECT_EQ(pieces(tokenizer, "[tool][tool]s]"),
            (Pieces{"[tool]", "[tool]s]"}));  // "[tool]" and "[tool]s]"
}

TEST(ByteLevelBpe, AddsBosAndEos) {
  Vocabulary v = bpe_test_vocabulary();
  v.bos = 0, v.eos = 1, v.add_bos = v.add_eos = true;
  const Tokenizer tokenizer = Tokenizer::create(std::move(v)).value();
  EXPECT_EQ(tokenizer.encode(""), (Ids{0, 1}));
  EXPECT_EQ(tokenizer.encode("", {.add_special = false}), Ids{});
}

TEST(ByteLevelBpe, IgnoreMergesTakesWholeWords) {
  Vocabulary v = bpe_test_vocabulary();
  v.tokens.push_back("xyz");  // no merge makes it
  v.types.push_back(TokenType::kNormal);
  v.ignore_merges = true;
  const Tokenizer tokenizer = Tokenizer::create(v).value();
  EXPECT_EQ(pieces(tokenizer, "xyz"), Pieces{"xyz"});
  v.ignore_merges = false;
  EXPECT_EQ(pieces(Tokenizer::create(v).value(), "xyz"), (Pieces{"x", "y", "z"}));
}

TEST(ByteLevelBpe, MergesOfStringsThatAreNoTokensAreSpelledOut) {
  Vocabulary v = bpe_test_vocabulary();
  v.merges.push_back("q r");   // "qr" is no token
  v.merges.push_back("qr s");  // but a way to one
  v.tokens.push_back("qrs");
  v.types.push_back(TokenType::kNormal);
  const Tokenizer tokenizer = Tokenizer::create(std::move(v)).value();
  EXPECT_EQ(pieces(tokenizer, "qrx"), (Pieces{"q", "r", "x"}));
  EXPECT_EQ(pieces(tokenizer, "qrs"), Pieces{"qrs"});
}

TEST(ByteLevelBpe, ControlTokensCannotBeSpelled) {
  Vocabulary v = bpe_test_vocabulary();
  v.merges.push_back("< /");
  v.merges.push_back("</ s");
  v.merges.push_back("</s >");
  v.tokens.push_back("</s>");  // an end token by its text, whatever its type says
  v.types.push_back(TokenType::kNormal);
  const Tokenizer tokenizer = Tokenizer::create(std::move(v)).value();
  const Ids ids = tokenizer.encode("</s>", {.add_special = false});
  EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer.find("</s>")), 0);
  EXPECT_EQ(tokenizer.decode(ids), "</s>");
}

// ---- SentencePiece

TEST(SentencePiece, MergesByScoreWithPrefixSpace) {
  const Tokenizer tokenizer = Tokenizer::create(spm_test_vocabulary()).value();
  EXPECT_EQ(pieces(tokenizer, "hello"), Pieces{"\u2581hello"});
  EXPECT_EQ(pieces(tokenizer, "hello hello"), (Pieces{"\u2581hello", "\u2581hello"}));
  EXPECT_EQ(pieces(tokenizer, " hello"), (Pieces{"\u2581", "\u2581hello"}));
  EXPECT_EQ(tokenizer.encode("", {.add_special = true}), Ids{1});
}

TEST(SentencePiece, FallsBackToBytes) {
  const Tokenizer tokenizer = Tokenizer::create(spm_test_vocabulary()).value();
  EXPECT_EQ(pieces(tokenizer, "\u00e9"), (Pieces{"\u2581", "<0xC3>", "<0xA9>"}));
  EXPECT_EQ(pieces(tokenizer, "\n"), (Pieces{"\u2581", "<0x0A>"}));
  // U+2581 in the text is not a space.
  EXPECT_EQ(pieces(tokenizer, "\u2581"), (Pieces{"\u2581", "<0xE2>", "<0x96>", "<0x81>"}));
  // The text of a byte token is not that byte.
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("<0x0A>")), "<0x0A>");
}

TEST(SentencePiece, SpecialTokensStartAnew) {
  const Tokenizer tokenizer = Tokenizer::create(spm_test_vocabulary()).value();
  EXPECT_EQ(pieces(tokenizer, "hello</s>hello", {.add_special = false, .parse_special = true}),
            (Pieces{"\u2581hello", "</s>", "\u2581hello"}));
  EXPECT_EQ(pieces(tokenizer, "hello[img]hello"), (Pieces{"\u2581hello", "[img]", "\u2581hello"}));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("hello[img]hello")), "hello[img]hello");
}

TEST(SentencePiece, StripsSpacesBesideTokensThatSaySo) {
  Vocabulary v = spm_test_vocabulary();
  v.rstrip = {2};  // </s>
  const Tokenizer right = Tokenizer::create(v).value();
  const EncodeOptions parse{.add_special = false, .parse_special = true};
  EXPECT_EQ(pieces(right, "hello </s> \n hello", parse),
            (Pieces{"\u2581hello", "\u2581", "</s>", "\u2581hello"}));
  v.rstrip.clear();
  v.lstrip = {2};
  const Tokenizer left = Tokenizer::create(v).value();
  EXPECT_EQ(pieces(left, "hello \n</s>hello", parse),
            (Pieces{"\u2581hello", "</s>", "\u2581hello"}));
}

TEST(SentencePiece, UnknownWithoutBytes) {
  Vocabulary v;
  v.kind = TokenizerKind::kSentencePiece;
  v.tokens = {"<unk>", "\u2581", "a"};
  v.types = {TokenType::kUnknown, TokenType::kNormal, TokenType::kNormal};
  v.unk = 0;
  const Tokenizer tokenizer = Tokenizer::create(std::move(v)).value();
  EXPECT_EQ(tokenizer.encode("ab\u00e9a"), (Ids{1, 2, 0, 0, 2}));
  EXPECT_EQ(tokenizer.decode(Ids{1, 2, 0, 0, 2}), "aa");
}

TEST(SentencePiece, BrokenCharactersTakeTheBytesThatTheirLeadPromises) {
  const Tokenizer tokenizer = Tokenizer::create(spm_test_vocabulary()).value();
  // As llama.cpp: E2 promises three bytes, so "he" is swallowed; but never a space, or decoding
  // would lose it.
  EXPECT_EQ(pieces(tokenizer, "\xE2hello"),
            (Pieces{"\u2581", "<0xE2>", "<0x68>", "<0x65>", "ll", "o"}));
  EXPECT_EQ(pieces(tokenizer, "\xE2 hello"), (Pieces{"\u2581", "<0xE2>", "\u2581hello"}));
}

// ---- WordPiece

TEST(WordPiece, CoversWordsGreedily) {
  const Tokenizer tokenizer = Tokenizer::create(wordpiece_test_vocabulary()).value();
  EXPECT_EQ(pieces(tokenizer, "Unaffable, \u00c9t\u00e9!"),
            (Pieces{"\u2581un", "aff", "able", "\u2581,", "\u2581ete", "\u2581!"}));
  EXPECT_EQ(pieces(tokenizer, "unx un"), (Pieces{"[UNK]", "\u2581un"}));
  EXPECT_EQ(pieces(tokenizer, "un", {}), (Pieces{"[CLS]", "\u2581un", "[SEP]"}));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("unaffable, ete!")), "unaffable, ete!");
}

// ---- what holds for every text

std::string random_text(RandomStream& random) {
  static const std::vector<std::string> parts = {"a",        "b",
                                                 "aa",       "hello",
                                                 " hello",   "he",
                                                 "l",        "o",
                                                 " ",        "  ",
                                                 "\n",       "\r\n",
                                                 "\t",       "'s",
                                                 "'RE",      "1",
                                                 "23",       "\u00e9",
                                                 "\u4e2d",   "\U0001F999",
                                                 "\u2581",   "\xE2",
                                                 "\xF0\x9F", "\x80",
                                                 "\xFF",     std::string(1, '\0'),
                                                 "[img]",    "[tool]",
                                                 "</s>",     "<|im_end|>",
                                                 "<0x41>",   ".",
                                                 "!?",       "_"};
  std::string text;
  for (uint64_t n = random.next_below(40); n > 0; --n)
    text += parts[random.next_below(parts.size())];
  return text;
}

TEST(EveryText, ComesBackByteForByte) {
  RandomStream random(1, "tokenizer test");
  for (const Vocabulary& v : {bpe_test_vocabulary(), spm_test_vocabulary()}) {
    const Tokenizer tokenizer = Tokenizer::create(v).value();
    for (int i = 0; i < 3000; ++i) {
      const std::string text = random_text(random);
      for (const bool special : {false, true}) {
        const Ids ids = tokenizer.encode(text, {.add_special = false, .parse_special = special});
        ASSERT_EQ(tokenizer.decode(ids, special), text);
      }
    }
  }
}

// Cutting at uncrossable pairs, the cache and the short and long merging change nothing: the same
// as merging the whole text at once.
TEST(EveryText, SentencePieceCutsAndCacheChangeNothing) {
  const Vocabulary v = spm_test_vocabulary();
  std::vector<TokenType> types = v.types;
  const SpmModel model = SpmModel::create(v, types).value();
  Vocabulary without_specials = v;
  for (TokenType& type : without_specials.types)
    if (type == TokenType::kUserDefined) type = TokenType::kControl;  // not matched in the text
  const Tokenizer tokenizer = Tokenizer::create(without_specials).value();
  const SpmModel plain = SpmModel::create(without_specials, without_specials.types).value();
  RandomStream random(2, "tokenizer test");
  Merger merger;
  for (int i = 0; i < 2000; ++i) {
    const std::string text = random_text(random) + random_text(random);
    if (text.empty()) continue;
    Ids whole;
    plain.encode_word(" " + text, merger, whole);
    ASSERT_EQ(tokenizer.encode(text, {.add_special = false}), whole);
  }
}

TEST(Merging, AllWaysAgree) {
  RandomStream random(3, "tokenizer test");
  // Ids 0 to 3 merge into sums below 64; equal priorities are common.
  int round = 0;
  const auto pair = [&round](const Symbol& a, const Symbol& b, Merge* merge) {
    const uint32_t sum = static_cast<uint32_t>(a.id * 5 + b.id * 3 + 1);
    if (sum % 3 == 0 || a.size + b.size > 9) return false;
    *merge = {round % 2 == 0 ? sum % 4 : sum * 37 % 64, static_cast<int32_t>(sum % 64)};
    return true;
  };
  for (; round < 3000; ++round) {
    Merger ways[3];
    for (uint32_t i = 0, n = static_cast<uint32_t>(random.next_below(70)); i < n; ++i)
      ways[0].symbols.push_back({i, 1, static_cast<int32_t>(random.next_below(4)), -1, -1});
    ways[1].symbols = ways[2].symbols = ways[0].symbols;
    ways[0].run_short(pair);
    ways[1].run_heap(pair);
    ways[2].run_long(pair, 64);
    std::vector<std::vector<uint32_t>> results;
    for (const Merger& way : ways) {
      results.emplace_back();
      for (const Symbol& s : way.symbols)
        if (s.size > 0)
          results.back().insert(results.back().end(),
                                {s.begin, s.size, static_cast<uint32_t>(s.id)});
    }
    ASSERT_EQ(results[0], results[1]);
    ASSERT_EQ(results[0], results[2]);
  }
}

// How often a pair is looked up bounds all else that merging does.
TEST(Merging, LooksUpAFewPairsForEachSymbol) {
  for (const size_t count : {size_t{10}, size_t{40}, size_t{4000}, size_t{1} << 20}) {
    for (const bool doubling : {true, false}) {
      // Either every two equals merge (a, aa, aaaa ...), or the first symbol eats the rest one by
      // one.
      size_t calls = 0;
      const auto pair = [&](const Symbol& a, const Symbol& b, Merge* merge) {
        ++calls;
        if (doubling ? a.id != b.id || a.id >= 30 : b.id != 0 || a.id >= 63) return false;
        *merge = {static_cast<uint32_t>(a.id), a.id + 1};
        return true;
      };
      Merger merger;
      for (size_t i = 0; i < count; ++i)
        merger.symbols.push_back({static_cast<uint32_t>(i), 1, 0, -1, -1});
      merger.run(pair, 64);
      EXPECT_LE(calls, 4 * count) << count;
      EXPECT_GE(calls, count - 1) << count;
    }
  }
}

TEST(EveryText, LongWordsAreNotQuadratic) {
  // A quadratic way would take minutes here.
  for (const Vocabulary& v : {bpe_test_vocabulary(), spm_test_vocabulary()}) {
    const Tokenizer tokenizer = Tokenizer::create(v).value();
    for (const std::string& text :
         {std::string(1 << 20, 'a'), std::string(1 << 20, ' '), std::string(1 << 20, '\xE2')})
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
  // Marks of two classes in turn: what sorts them into NFD's order one by one never ends.
  const Tokenizer wordpiece = Tokenizer::create(wordpiece_test_vocabulary()).value();
  std::string marks = "ete", word = "un";
  for (int i = 0; i < 1 << 18; ++i) marks += "\u0301\u0323", word += "aff";
  EXPECT_EQ(wordpiece.encode(marks, {.add_special = false}).size(), 1u);
  EXPECT_EQ(wordpiece.encode(word, {.add_special = false}).size(), (size_t{1} << 18) + 1);
}

TEST(EveryText, LongWordsWithoutAnyMerge) {
  Vocabulary v = bpe_test_vocabulary();
  v.merges.clear();
  EXPECT_EQ(Tokenizer::create(std::move(v)).value().encode(std::string(5000, 'a')).size(), 5000u);
  v = spm_test_vocabulary();
  v.scores.assign(v.tokens.size(), std::numeric_limits<float>::infinity());
  EXPECT_EQ(Tokenizer::create(std::move(v)).value().encode(std::string(5000, 'a')).size(), 5002u);
}

TEST(EveryToken, StreamsAsItDecodes) {
  const Tokenizer tokenizer = Tokenizer::create(bpe_test_vocabulary()).value();
  std::string text;
  for (const TokenId id : tokenizer.encode("a the\xff b")) text += tokenizer.token_bytes(id);
  EXPECT_EQ(text, "a the\xff b");
  EXPECT_EQ(tokenizer.token_bytes(-1), "");
  EXPECT_EQ(tokenizer.token_bytes(1 << 30), "");
  EXPECT_EQ(tokenizer.decode(Ids{-5, 1 << 30}), "");
  EXPECT_FALSE(tokenizer.is_end(-1));
  EXPECT_FALSE(tokenizer.is_control(1 << 30));
}

// ---- gpt-oss: <|end|> closes a message, the channel marks are part of the output

TEST(EndTokens, HarmonyEndsWithReturnOrCall) {
  Vocabulary v = bpe_test_vocabulary();
  for (const char* text : {"<|end|>", "<|return|>", "<|call|>", "<|channel|>"}) {
    v.tokens.emplace_back(text);
    v.types.push_back(TokenType::kControl);
  }
  const Tokenizer tokenizer = Tokenizer::create(std::move(v)).value();
  EXPECT_FALSE(tokenizer.is_end(tokenizer.find("<|end|>")));
  EXPECT_TRUE(tokenizer.is_end(tokenizer.find("<|return|>")));
  EXPECT_EQ(tokenizer.token_bytes(tokenizer.find("<|channel|>")), "<|channel|>");
  EXPECT_EQ(tokenizer.token_bytes(tokenizer.find("<|end|>")), "");
}

// ---- hostile vocabularies

TEST(HostileVocabulary, IsRefusedInOneLine) {
  const Vocabulary good = bpe_test_vocabulary();
  EXPECT_EQ(error_of(good), "");
  Vocabulary v;
  EXPECT_NE(error_of(v).find("empty"), std::string::npos);
  v = good;
  v.tokens[5] = v.tokens[6];
  EXPECT_NE(error_of(v).find("tokens 5 and 6 are both"), std::string::npos);
  v = good;
  v.merges.push_back("nospace");
  EXPECT_NE(error_of(v).find("'nospace'"), std::string::npos);
  v = good;
  v.eos = static_cast<TokenId>(v.tokens.size());
  EXPECT_NE(error_of(v).find("EOS token"), std::string::npos);
  v = good;
  v.add_bos = true;
  EXPECT_NE(error_of(v).find("BOS"), std::string::npos);
  v = good;
  v.types.pop_back();
  EXPECT_NE(error_of(v).find("types"), std::string::npos);
  v = good;
  v.types[3] = static_cast<TokenType>(77);
  EXPECT_NE(error_of(v).find("77"), std::string::npos);
  v = good;
  v.pre = "no-such";
  EXPECT_NE(error_of(v).find("no-such"), std::string::npos);
  v = good;
  v.rstrip = {-1};
  EXPECT_NE(error_of(v), "");
  v = good;
  v.tokens.back() = std::string(5000, 'x');
  v.types.back() = TokenType::kControl;
  EXPECT_NE(error_of(v).find("5000"), std::string::npos);
}

TEST(HostileVocabulary, MalformedByteTokensAreRefused) {
  for (const char* text : {"<0x-1>", "<0x1>", "<0x100>", "<0xGG>", "0x41", "<0x4 >"}) {
    Vocabulary v = spm_test_vocabulary();
    v.tokens.back() = text;
    v.types.back() = TokenType::kByte;
    EXPECT_NE(error_of(v).find("should be a byte"), std::string::npos) << text;
  }
}

TEST(HostileVocabulary, ScoresThatAreNoNumbersNeverMerge) {
  Vocabulary v = spm_test_vocabulary();
  v.scores.assign(v.tokens.size(), std::numeric_limits<float>::quiet_NaN());
  const Tokenizer tokenizer = Tokenizer::create(std::move(v)).value();
  EXPECT_EQ(pieces(tokenizer, "he"), (Pieces{"\u2581", "h", "e"}));
}

}  // namespace
}  // namespace geist::text
