#include "train/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <queue>

#include "text/bpe.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_table.h"

namespace geist::train {
namespace {

constexpr size_t kProgressEvery = 64;

uint64_t key_of(uint32_t left, uint32_t right) { return uint64_t{left} << 32 | right; }

// Pairs to dense indices; grows, never forgets.
class PairIndex {
 public:
  PairIndex() : slots_(1 << 16) {}
  // The index of a pair, a new one if it is new.
  uint32_t of(uint64_t key) {
    if ((keys_.size() + 1) * 2 > slots_.size()) grow();
    Slot& slot = slots_[locate(key)];
    if (slot.index == kNone) {
      slot = {key, static_cast<uint32_t>(keys_.size())};
      keys_.push_back(key);
    }
    return slot.index;
  }
  uint64_t key(uint32_t index) const { return keys_[index]; }
  size_t size() const { return keys_.size(); }

 private:
  static constexpr uint32_t kNone = ~uint32_t{0};
  struct Slot {
    uint64_t key = 0;
    uint32_t index = kNone;
  };
  size_t locate(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    size_t i = text::hash_mix(key ^ 0xa0761d6478bd642fu, 0xe7037ed1a0b428dbu) & mask;
    while (slots_[i].index != kNone && slots_[i].key != key) i = (i + 1) & mask;
    return i;
  }
  void grow() {
    slots_.assign(slots_.size() * 2, Slot{});
    for (uint32_t i = 0; i < keys_.size(); ++i) slots_[locate(keys_[i])] = {keys_[i], i};
  }
  std::vector<Slot> slots_;
  std::vector<uint64_t> keys_;
};

struct PairState {
  int64_t count = 0;
  std::vector<uint32_t> words;  // that hold it, or held it once
};

class MergeLoop {
 public:
  MergeLoop(std::span<const WordCount> words, uint64_t count_min)
      : count_min_(static_cast<int64_t>(std::max<uint64_t>(count_min, 1))) {
    for (uint32_t i = 0; i < 256; ++i)
      add_symbol(std::string(1, static_cast<char>(byte_of_symbol(i))));
    spell(words);
  }

  Result<std::vector<MergePair>> run(size_t merge_count, ThreadPool& pool,
                                     const MergeProgress& progress);

 private:
  struct Word {
    uint64_t offset;
    uint32_t size;
    int64_t count;
  };
  struct Entry {
    int64_t count;
    uint64_t key;
    uint32_t index;
    bool operator<(const Entry& other) const {  // the best is the greatest
      return count != other.count ? count < other.count : key > other.key;
    }
  };

  void spell(std::span<const WordCount> words);
  void count_pairs(ThreadPool& pool);
  bool add_symbol(std::string bytes);
  void merge(uint32_t pair, uint32_t made);
  void change(uint32_t left, uint32_t right, int64_t by, uint32_t word);

  int64_t count_min_;
  std::vector<Word> words_;
  std::vector<uint32_t> symbols_;
  PairIndex index_;
  std::vector<PairState> pairs_;
  std::priority_queue<Entry> heap_;
  std::vector<std::string> bytes_;  // of each symbol
  text::TokenTable symbol_of_bytes_;
};

struct ByteOrder {
  std::array<uint8_t, 256> byte_of;
  std::array<uint32_t, 256> symbol_of;
  ByteOrder() {
    for (uint32_t b = 0; b < 256; ++b) byte_of[b] = static_cast<uint8_t>(b);
    // UTF-8 sorts as code points do.
    std::sort(byte_of.begin(), byte_of.end(), [](uint8_t a, uint8_t b) {
      return text::byte_to_alphabet(a) < text::byte_to_alphabet(b);
    });
    for (uint32_t i = 0; i < 256; ++i) symbol_of[byte_of[i]] = i;
  }
};

const ByteOrder& byte_order() {
  static const ByteOrder instance;
  return instance;
}

// Words of one byte hold no pair.
void MergeLoop::spell(std::span<const WordCount> words) {
  for (const WordCount& word : words) {
    if (word.word.size() < 2) continue;
    words_.push_back({symbols_.size(), static_cast<uint32_t>(word.word.size()),
                      static_cast<int64_t>(word.count)});
    for (const char c : word.word)
      symbols_.push_back(byte_order().symbol_of[static_cast<unsigned char>(c)]);
  }
}

void MergeLoop::change(uint32_t left, uint32_t right, int64_t by, uint32_t word) {
  const uint32_t pair = index_.of(key_of(left, right));
  if (pair >= pairs_.size()) pairs_.resize(pair + 1);
  PairState& state = pairs_[pair];
  state.count += by;
  if (by > 0 && (state.words.empty() || state.words.back() != word)) state.words.push_back(word);
}

// Bytes have 65,536 pairs at most: each thread counts a range of words in a flat table, and the
// word lists are put together in the order of the ranges.
void MergeLoop::count_pairs(ThreadPool& pool) {
  struct Part {
    std::vector<int64_t> counts = std::vector<int64_t>(1 << 16);
    std::vector<std::vector<uint32_t>> words = std::vector<std::vector<uint32_t>>(1 << 16);
  };
  std::vector<Part> parts(static_cast<size_t>(pool.size()));
  pool.run([&](int index) {
    Part& part = parts[static_cast<size_t>(index)];
    const size_t begin = words_.size() * static_cast<size_t>(index) / parts.size();
    const size_t end = words_.size() * static_cast<size_t>(index + 1) / parts.size();
    for (size_t w = begin; w < end; ++w) {
      const uint32_t* s = symbols_.data() + words_[w].offset;
      for (uint32_t i = 0; i + 1 < words_[w].size; ++i) {
        const size_t pair = size_t{s[i]} << 8 | s[i + 1];
        part.counts[pair] += words_[w].count;
        auto& list = part.words[pair];
        if (list.empty() || list.back() != w) list.push_back(static_cast<uint32_t>(w));
      }
    }
  });
  for (size_t pair = 0; pair < 1 << 16; ++pair) {
    PairState state;
    for (Part& part : parts) {
      state.count += part.counts[pair];
      state.words.insert(state.words.end(), part.words[pair].begin(), part.words[pair].end());
      part.words[pair] = {};
    }
    if (state.count == 0) continue;
    const uint64_t key = key_of(static_cast<uint32_t>(pair >> 8), pair & 255);
    const uint32_t index = index_.of(key);
    heap_.push({state.count, key, index});
    pairs_.push_back(std::move(state));
  }
}

// False, and nothing done, when there is a symbol of these bytes already.
bool MergeLoop::add_symbol(std::string bytes) {
  if (!symbol_of_bytes_.insert(bytes, static_cast<int32_t>(bytes_.size()))) return false;
  bytes_.push_back(std::move(bytes));
  return true;
}

// Replaces a pair wherever it stands, from the left, and keeps the counts of its neighbours.
void MergeLoop::merge(uint32_t pair, uint32_t made) {
  const auto left = static_cast<uint32_t>(index_.key(pair) >> 32);
  const auto right = static_cast<uint32_t>(index_.key(pair));
  const auto first_new = static_cast<uint32_t>(index_.size());
  const std::vector<uint32_t> list = std::move(pairs_[pair].words);
  pairs_[pair].words = {};
  for (const uint32_t w : list) {
    Word& word = words_[w];
    uint32_t* s = symbols_.data() + word.offset;
    uint32_t out = 0;
    for (uint32_t i = 0; i < word.size; ++i) {
      if (i + 1 == word.size || s[i] != left || s[i + 1] != right) {
        s[out++] = s[i];
        continue;
      }
      if (out > 0) {
        change(s[out - 1], left, -word.count, w);
        change(s[out - 1], made, word.count, w);
      }
      if (i + 2 < word.size) {
        change(right, s[i + 2], -word.count, w);
        change(made, s[i + 2], word.count, w);
      }
      s[out++] = made;
      ++i;
    }
    word.size = out;
  }
  pairs_[pair].count = 0;
  for (uint32_t i = first_new; i < index_.size(); ++i)
    if (pairs_[i].count >= count_min_) heap_.push({pairs_[i].count, index_.key(i), i});
}

Result<std::vector<MergePair>> MergeLoop::run(size_t merge_count, ThreadPool& pool,
                                              const MergeProgress& progress) {
  count_pairs(pool);
  std::vector<MergePair> merges;
  while (merges.size() < merge_count && !heap_.empty()) {
    const Entry top = heap_.top();
    heap_.pop();
    const int64_t count = pairs_[top.index].count;
    if (count < count_min_) continue;
    if (count != top.count) {
      heap_.push({count, top.key, top.index});
      continue;
    }
    const auto left = static_cast<uint32_t>(top.key >> 32), right = static_cast<uint32_t>(top.key);
    if (!add_symbol(bytes_[left] + bytes_[right])) continue;
    merges.push_back({left, right});
    merge(top.index, static_cast<uint32_t>(255 + merges.size()));
    if (progress && merges.size() % kProgressEvery == 0 && !progress(merges.size(), merge_count))
      return errorf("interrupted");
  }
  return merges;
}

}  // namespace

Result<std::vector<MergePair>> train_merges(std::span<const WordCount> words, size_t merge_count,
                                            uint64_t count_min, ThreadPool& pool,
                                            const MergeProgress& progress) {
  return MergeLoop(words, count_min).run(merge_count, pool, progress);
}

uint8_t byte_of_symbol(uint32_t index) { return byte_order().byte_of[index]; }

std::span<const SpecialToken> special_tokens() {
  using enum text::TokenType;
  static constexpr SpecialToken kTokens[] = {
      {kDocumentToken, kControl},
      {kTurnStart, kControl},
      {kTurnEnd, kControl},
      {"<tool_call>", kUserDefined},
      {"</tool_call>", kUserDefined},
      {"<tool_response>", kUserDefined},
      {"</tool_response>", kUserDefined},
      {"<think>", kUserDefined},
      {"</think>", kUserDefined},
  };
  return kTokens;
}

text::Vocabulary make_vocabulary(std::span<const MergePair> merges, const std::string& pre) {
  text::Vocabulary v;
  v.kind = text::TokenizerKind::kByteLevelBpe;
  v.pre = pre;
  for (const SpecialToken& token : special_tokens()) {
    v.tokens.emplace_back(token.text);
    v.types.push_back(token.type);
  }
  const size_t first = v.tokens.size();
  for (uint32_t i = 0; i < 256; ++i)
    v.tokens.emplace_back(text::byte_to_alphabet(byte_of_symbol(i)));
  for (const MergePair& merge : merges) {
    const std::string left = v.tokens[first + merge.left];
    const std::string right = v.tokens[first + merge.right];
    v.merges.push_back(left + " " + right);
    v.tokens.push_back(left + right);
  }
  v.types.resize(v.tokens.size(), text::TokenType::kNormal);
  v.bos = v.eos = v.pad = 0;
  v.eot = 2;
  v.add_bos = true;
  v.add_space_prefix = false;
  v.ignore_merges = text::PreTokenizer::ignores_merges(pre);
  return v;
}

}  // namespace geist::train
