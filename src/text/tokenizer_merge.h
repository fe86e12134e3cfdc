// Repeated best-pair merging, the heart of SentencePiece-style and byte-level BPE: of all adjacent
// pairs that may merge, the one of lowest priority number goes first, the leftmost of equals; until
// none is left.
//
// Words are mostly short: up to kShort symbols a scan of an array is fastest. Longer runs (a
// megabyte of one letter, text without spaces) use a heap over a linked list: every merge adds at
// most two pairs, so O(n log n) time and O(n) memory. Both give the same result; the test compares
// them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace geist::text {

struct Symbol {
  uint32_t begin = 0, size = 0;  // bytes of the word
  int32_t id = -1;
  int32_t prev = -1, next = -1;
};

struct Merge {
  uint32_t priority = 0;
  int32_t id = -1;
};

class Merger {
 public:
  static constexpr size_t kShort = 40;

  std::vector<Symbol>
      symbols;  // set begin, size and id in order; afterwards those of size > 0 remain

  // pair(left, right, &merge) says whether two adjacent symbols may merge, and into what.
  template <typename Pair>
  void run(const Pair& pair) {
    if (symbols.size() <= kShort) {
      run_short(pair);
    } else {
      run_long(pair);
    }
  }

  template <typename Pair>
  void run_short(const Pair& pair) {
    constexpr uint64_t kNone = ~uint64_t{0};
    // best_[i]: priority above merged id, for the pair (i, i + 1). Ids are positive, so kNone is
    // free.
    const auto look = [&](size_t i) {
      Merge merge;
      return pair(symbols[i], symbols[i + 1], &merge)
                 ? uint64_t{merge.priority} << 32 | static_cast<uint32_t>(merge.id)
                 : kNone;
    };
    size_t count = symbols.size();
    best_.assign(count, kNone);
    for (size_t i = 0; i + 1 < count; ++i) best_[i] = look(i);
    while (count > 1) {
      size_t at = 0;
      for (size_t i = 1; i + 1 < count; ++i)
        if (best_[i] >> 32 < best_[at] >> 32) at = i;
      if (best_[at] == kNone) break;
      symbols[at].size += symbols[at + 1].size;
      symbols[at].id = static_cast<int32_t>(static_cast<uint32_t>(best_[at]));
      symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(at) + 1);
      best_.erase(best_.begin() + static_cast<ptrdiff_t>(at) + 1);
      --count;
      best_[at] = at + 1 < count ? look(at) : kNone;
      if (at > 0) best_[at - 1] = look(at - 1);
    }
  }

  template <typename Pair>
  void run_long(const Pair& pair) {
    heap_.clear();
    const auto count = static_cast<int32_t>(symbols.size());
    for (int32_t i = 0; i < count; ++i) {
      symbols[static_cast<size_t>(i)].prev = i - 1;
      symbols[static_cast<size_t>(i)].next = i + 1 < count ? i + 1 : -1;
    }
    for (int32_t i = 0; i + 1 < count; ++i) push(i, pair);
    std::make_heap(heap_.begin(), heap_.end());
    const auto push_heap = [&](int32_t left) {
      if (left >= 0 && push(left, pair)) std::push_heap(heap_.begin(), heap_.end());
    };
    while (!heap_.empty()) {
      const Candidate best = heap_.front();
      std::pop_heap(heap_.begin(), heap_.end());
      heap_.pop_back();
      const int32_t at = static_cast<int32_t>(static_cast<uint32_t>(best.key));
      if (!apply(at, best)) continue;
      push_heap(symbols[static_cast<size_t>(at)].prev);
      push_heap(at);
    }
  }

 private:
  struct Candidate {
    uint64_t key;  // priority above the index of the left symbol
    uint32_t size;
    int32_t id;
    bool operator<(const Candidate& other) const {
      return key > other.key;
    }  // the heap's top is the least
  };

  template <typename Pair>
  bool push(int32_t left, const Pair& pair) {
    const Symbol& a = symbols[static_cast<size_t>(left)];
    if (a.next < 0) return false;
    const Symbol& b = symbols[static_cast<size_t>(a.next)];
    Merge merge;
    if (!pair(a, b, &merge)) return false;
    heap_.push_back(
        {uint64_t{merge.priority} << 32 | static_cast<uint32_t>(left), a.size + b.size, merge.id});
    return true;
  }

  // A candidate is stale when either side has merged since: then the sizes no longer add up.
  bool apply(int32_t at, const Candidate& candidate) {
    Symbol& a = symbols[static_cast<size_t>(at)];
    if (a.size == 0 || a.next < 0) return false;
    Symbol& b = symbols[static_cast<size_t>(a.next)];
    if (a.size + b.size != candidate.size) return false;
    a.size = candidate.size;
    a.id = candidate.id;
    a.next = b.next;
    b.size = 0;
    if (a.next >= 0) symbols[static_cast<size_t>(a.next)].prev = at;
    return true;
  }

  std::vector<uint64_t> best_;
  std::vector<Candidate> heap_;
};

}  // namespace geist::text
