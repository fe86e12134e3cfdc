#include "train/word_counter.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include "text/tokenizer_table.h"

namespace geist::train {
namespace {

constexpr size_t kBufferBytes = size_t{16} << 20;
constexpr size_t kPieceBytes = size_t{256} << 10;

bool is_alnum(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// The first place at or behind `from` where every pre-tokenizer cuts, or the end.
size_t safe_cut(std::string_view text, size_t from) {
  for (size_t at = text.find('\n', from); at != std::string_view::npos;
       at = text.find('\n', at + 1)) {
    if (at > 0 && at + 1 < text.size() && is_alnum(text[at - 1]) && is_alnum(text[at + 1]))
      return at + 1;
  }
  return text.size();
}

}  // namespace

void WordTable::add(std::string_view word, uint64_t count) {
  if ((count_ + 1) * 2 > slots_.size()) grow();
  const uint64_t hash = text::hash_bytes(word.data(), word.size());
  const auto tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask;; i = (i + 1) & mask) {
    Slot& slot = slots_[i];
    if (slot.count == 0) {
      slot = {keys_.size(), count, static_cast<uint32_t>(word.size()), tag};
      keys_ += word;
      ++count_;
      return;
    }
    if (slot.tag == tag && slot.size == word.size() &&
        text::equal_bytes(keys_.data() + slot.offset, word.data(), word.size())) {
      slot.count += count;
      return;
    }
  }
}

void WordTable::grow() {
  std::vector<Slot> old(std::bit_ceil(slots_.size() * 2 + 1024));
  old.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.count == 0) continue;
    size_t i = text::hash_bytes(keys_.data() + slot.offset, slot.size) & mask;
    while (slots_[i].count > 0) i = (i + 1) & mask;
    slots_[i] = slot;
  }
}

WordCounter::WordCounter(text::PreTokenizer pre, ThreadPool& pool)
    : pre_(std::move(pre)), pool_(pool), tables_(static_cast<size_t>(pool.size())) {}

void WordCounter::add(std::string_view document) {
  while (!document.empty()) {
    const size_t size =
        document.size() <= kPieceBytes ? document.size() : safe_cut(document, kPieceBytes);
    buffer_ += document.substr(0, size);
    piece_ends_.push_back(buffer_.size());
    document.remove_prefix(size);
    if (buffer_.size() >= kBufferBytes) count_buffer();
  }
}

void WordCounter::count_buffer() {
  std::atomic<size_t> next{0};
  pool_.run([&](int index) {
    WordTable& table = tables_[static_cast<size_t>(index)];
    // Pieces are handed out one by one; which thread counts which does not matter for a sum.
    for (size_t k = next.fetch_add(1); k < piece_ends_.size(); k = next.fetch_add(1)) {
      const size_t first = k == 0 ? 0 : piece_ends_[k - 1];
      const auto piece = std::string_view(buffer_).substr(first, piece_ends_[k] - first);
      size_t begin = 0;
      pre_.split(piece, [&](std::span<const size_t> ends) {
        for (const size_t end : ends) {
          for (; end - begin > kTrainingWordBytesMax; begin += kTrainingWordBytesMax)
            table.add(piece.substr(begin, kTrainingWordBytesMax), 1);
          table.add(piece.substr(begin, end - begin), 1);
          begin = end;
        }
      });
    }
  });
  buffer_.clear();
  piece_ends_.clear();
}

std::vector<WordCount> WordCounter::finish() {
  count_buffer();
  buffer_ = {};
  WordTable& all = tables_[0];
  for (size_t i = 1; i < tables_.size(); ++i) {
    tables_[i].for_each([&](std::string_view word, uint64_t count) { all.add(word, count); });
    tables_[i] = {};
  }
  std::vector<WordCount> words;
  words.reserve(all.size());
  all.for_each([&](std::string_view word, uint64_t count) { words.push_back({word, count}); });
  std::sort(words.begin(), words.end(),
            [](const WordCount& a, const WordCount& b) { return a.word < b.word; });
  return words;
}

}  // namespace geist::train
