// Counts the words (pre-tokenizer pieces) of a stream of documents, in parallel.
//
// Documents are gathered into a buffer; when it is full its pieces are counted on all threads, each
// thread into its own table for all the buffers, and finish() adds the tables up. Sums of integers
// do not depend on who adds, so the counts are the same on any number of threads. A long document
// is cut into pieces only where every pre-tokenizer cuts too: behind a single newline between two
// ASCII letters or digits, so cutting never changes a word.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "text/pre_tokenizer.h"

namespace geist::train {

// Longer pre-tokens (runs without a space, base64) are counted in parts of this many bytes: they
// teach a tokenizer nothing.
inline constexpr size_t kTrainingWordBytesMax = 1024;

// Byte strings and how often they came. Open addressing; keys are copied.
class WordTable {
 public:
  void add(std::string_view word, uint64_t count);
  size_t size() const { return count_; }
  template <typename F>
  void for_each(F&& f) const {  // f(word, count), in no useful order
    for (const Slot& slot : slots_)
      if (slot.count > 0) f(std::string_view(keys_).substr(slot.offset, slot.size), slot.count);
  }

 private:
  struct Slot {
    uint64_t offset = 0, count = 0;
    uint32_t size = 0, tag = 0;
  };
  void grow();
  std::vector<Slot> slots_;
  std::string keys_;
  size_t count_ = 0;
};

struct WordCount {
  std::string_view word;  // lives as long as the counter
  uint64_t count;
};

class WordCounter {
 public:
  WordCounter(text::PreTokenizer pre, ThreadPool& pool);
  void add(std::string_view document);
  // All words, in byte order. Call once, after the last add().
  std::vector<WordCount> finish();

 private:
  void count_buffer();
  text::PreTokenizer pre_;
  ThreadPool& pool_;
  std::string buffer_;
  std::vector<size_t> piece_ends_;  // of buffer_
  std::vector<WordTable> tables_;   // one a thread
};

}  // namespace geist::train
