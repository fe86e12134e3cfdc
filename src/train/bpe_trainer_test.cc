#include "train/bpe_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/file.h"
#include "base/rng.h"
#include "model/load_tokenizer.h"
#include "train/tokenizer_export.h"

namespace geist::train {
namespace {

using Symbols = std::vector<uint32_t>;

text::PreTokenizer pre_tokenizer(std::string_view name = "gpt-4o") {
  auto pre = text::PreTokenizer::by_name(name);
  EXPECT_TRUE(pre.ok());
  return std::move(*pre);
}

// What the definition says, step by step and with everything counted again each time.
class NaiveTrainer {
 public:
  explicit NaiveTrainer(std::span<const WordCount> words) {
    std::map<uint8_t, uint32_t> symbol_of;
    for (uint32_t i = 0; i < 256; ++i) symbol_of[byte_of_symbol(i)] = i;
    for (const WordCount& word : words) {
      Symbols symbols;
      for (const char c : word.word) symbols.push_back(symbol_of[static_cast<uint8_t>(c)]);
      words_.emplace_back(symbols, word.count);
    }
  }

  std::vector<MergePair> train(size_t merge_count, uint64_t count_min) {
    while (merges_.size() < merge_count) {
      const auto counts = count_pairs();
      auto best = counts.end();
      for (auto it = counts.begin(); it != counts.end(); ++it)  // a map: ties go to the lower pair
        if (best == counts.end() || it->second > best->second) best = it;
      if (best == counts.end() || best->second < count_min) break;
      const auto [left, right] = best->first;
      merges_.push_back({left, right});
      apply(merges_.back(), static_cast<uint32_t>(255 + merges_.size()));
    }
    return merges_;
  }

 private:
  std::map<std::pair<uint32_t, uint32_t>, uint64_t> count_pairs() const {
    std::map<std::pair<uint32_t, uint32_t>, uint64_t> counts;
    for (const auto& [symbols, count] : words_)
      for (size_t i = 0; i + 1 < symbols.size(); ++i) counts[{symbols[i], symbols[i + 1]}] += count;
    return counts;
  }
  void apply(const MergePair& merge, uint32_t made) {
    for (auto& [symbols, count] : words_) {
      Symbols out;
      for (size_t i = 0; i < symbols.size(); ++i) {
        const bool here =
            i + 1 < symbols.size() && symbols[i] == merge.left && symbols[i + 1] == merge.right;
        out.push_back(here ? made : symbols[i]);
        i += here;
      }
      symbols = out;
    }
  }
  std::vector<std::pair<Symbols, uint64_t>> words_;
  std::vector<MergePair> merges_;
};

std::string random_text(uint64_t seed, size_t size, std::string_view letters) {
  RandomStream random(seed, "bpe trainer test");
  std::string text;
  for (size_t i = 0; i < size; ++i) text += letters[random.next_below(letters.size())];
  return text;
}

std::vector<MergePair> train_on(const std::vector<std::string>& documents, size_t merge_count,
                                int threads, uint64_t count_min = 2) {
  ThreadPool pool(threads);
  WordCounter counter(pre_tokenizer(), pool);
  for (const std::string& document : documents) counter.add(document);
  auto merges = train_merges(counter.finish(), merge_count, count_min, pool, {});
  EXPECT_TRUE(merges.ok());
  return *merges;
}

std::vector<MergePair> naive(const std::vector<std::string>& documents, size_t merge_count,
                             uint64_t count_min = 2) {
  ThreadPool pool(1);
  WordCounter counter(pre_tokenizer(), pool);
  for (const std::string& document : documents) counter.add(document);
  return NaiveTrainer(counter.finish()).train(merge_count, count_min);
}

TEST(BpeTrainer, MergesAreThoseOfTheDefinition) {
  for (uint64_t seed = 0; seed < 12; ++seed) {
    // Few letters: long runs, overlapping pairs, ties, and the same bytes made in two ways.
    const std::string_view letters = seed % 3 == 0   ? "ab"
                                     : seed % 3 == 1 ? "aab c"
                                                     : "abcdefg hi\n";
    const std::vector<std::string> documents = {random_text(seed, 1500, letters),
                                                random_text(seed + 100, 700, letters)};
    EXPECT_EQ(train_on(documents, 150, 1), naive(documents, 150)) << seed;
    EXPECT_EQ(train_on(documents, 40, 3, 5), naive(documents, 40, 5)) << seed;
  }
}

TEST(BpeTrainer, NoTokenComesTwice) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const auto merges = train_on({random_text(seed, 2000, "aaabbc ")}, 400, 1);
    std::vector<std::string> tokens = make_vocabulary(merges, "gpt-4o").tokens;
    std::sort(tokens.begin(), tokens.end());
    EXPECT_EQ(std::adjacent_find(tokens.begin(), tokens.end()), tokens.end());
  }
}

TEST(BpeTrainer, ThreadsChangeNothing) {
  std::vector<std::string> documents;
  for (uint64_t i = 0; i < 40; ++i)
    documents.push_back(random_text(i, i == 7 ? 900'000 : 20'000, "etaoin shrdlu\nETA 012.,"));
  const auto one = train_on(documents, 400, 1);
  EXPECT_EQ(one.size(), 400u);
  EXPECT_EQ(train_on(documents, 400, 2), one);
  EXPECT_EQ(train_on(documents, 400, 5), one);
}

TEST(BpeTrainer, StopsWhenNothingRepeats) {
  EXPECT_TRUE(train_on({"abcdefg"}, 100, 1).empty());
  EXPECT_TRUE(train_on({}, 100, 2).empty());
  EXPECT_EQ(train_on({"ab ab ab"}, 100, 1).size(), 2u);  // ab, then space+ab
}

TEST(BpeTrainer, CanBeStopped) {
  ThreadPool pool(1);
  WordCounter counter(pre_tokenizer(), pool);
  counter.add(random_text(3, 20'000, "abcdefgh "));
  const auto merges =
      train_merges(counter.finish(), 5000, 1, pool, [](size_t done, size_t) { return done < 128; });
  ASSERT_FALSE(merges.ok());
  EXPECT_EQ(merges.error().message, "interrupted");
}

// A long document is cut into pieces: words and counts are those of the whole.
TEST(WordCounter, PiecesChangeNoWord) {
  const std::string text = random_text(5, 1'500'000, "abc \n\n\n  .!/'s\t12");
  for (const char* name : {"gpt-4o", "llama-bpe", "gpt-2", "qwen2", "smollm", "tekken"}) {
    ThreadPool pool(2);
    WordCounter counter(pre_tokenizer(name), pool);
    counter.add(text);
    std::map<std::string, uint64_t> whole;
    size_t begin = 0;
    pre_tokenizer(name).split(text, [&](std::span<const size_t> ends) {
      for (const size_t end : ends) {
        ++whole[text.substr(begin, end - begin)];
        begin = end;
      }
    });
    std::map<std::string, uint64_t> counted;
    for (const WordCount& word : counter.finish()) counted[std::string(word.word)] = word.count;
    EXPECT_EQ(counted, whole) << name;
  }
}

std::string all_bytes() {
  std::string text =
      "Hello, world! \xF0\x9F\x98\x80 \xE4\xB8\xAD\n\n\ttab <|endoftext|> it's 12345";
  for (int b = 0; b < 256; ++b) text += static_cast<char>(b);
  return text;
}

TEST(TokenizerExport, GgufAndJsonGiveTheSameTokensAndTheTextBack) {
  const std::string path = testing::TempDir() + "geist_trained_tokenizer.gguf";
  const std::vector<std::string> texts = {all_bytes(), random_text(9, 5000, "the cat sat. "),
                                          "the cat's hat THE CAT 1999"};
  for (const char* pre : {"gpt-4o", "llama-bpe", "gpt-2", "qwen2", "smollm", "tekken"}) {
    const auto merges = train_on({random_text(4, 50'000, "the cat sat. ")}, 300, 1);
    const text::Vocabulary v = make_vocabulary(merges, pre);
    ASSERT_TRUE(write_tokenizer_gguf(path, v).ok());
    const auto file = gguf::File::open(path);
    ASSERT_TRUE(file.ok());
    const auto loaded = model::load_tokenizer(file->metadata());
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    const auto json = tokenizer_json(v);
    ASSERT_TRUE(json.ok());
    const auto from_json = text::Tokenizer::from_tokenizer_json(*json);
    ASSERT_TRUE(from_json.ok()) << from_json.error().message;
    for (const std::string& text : texts) {
      const auto ids = loaded->encode(text);
      EXPECT_EQ(ids.front(), v.bos);
      EXPECT_EQ(loaded->decode(ids), text) << pre;
      EXPECT_EQ(from_json->encode(text), ids) << pre;
      EXPECT_EQ(from_json->encode(text, {.parse_special = true}),
                loaded->encode(text, {.parse_special = true}));
    }
    EXPECT_TRUE(loaded->is_end(loaded->find("<|im_end|>")));
  }
  std::remove(path.c_str());
}

}  // namespace
}  // namespace geist::train
