// Repeated best-pair merging, the heart of SentencePiece-style and byte-level BPE: of all adjacent
// pairs that may merge, the one of lowest priority number goes first, the leftmost of equals; until
// none is left.
//
// Words are mostly short: up to kShort symbols a scan of an array is fastest. Longer runs (a
// megabyte of one letter, text without spaces) use a linked list and a queue with one list of pairs
// for each priority. Every merge adds at most two pairs, finding the next priority takes a look at
// a bitmap of three or four levels, and pairs of one priority come nearly always from left to
// right: time is linear in the word, and memory too. (Lists that are out of order are sorted; equal
// priorities of different pairs, which no learnt vocabulary has, go through a heap.) Both ways give
// the same result; the test compares them.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
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

// Candidates by (priority, position).
class MergeQueue {
 public:
  struct Candidate {
    uint32_t left, size;  // index of the left symbol; bytes of both together
    int32_t id;
    bool operator<(const Candidate& other) const {
      return left > other.left;
    }  // a heap's top is the least
  };

  explicit MergeQueue(uint32_t priority_count) : lists_(priority_count) {
    size_t words = priority_count;
    do {
      words = words / 64 + 1;
      levels_.emplace_back(words);
    } while (words > 1);
  }

  void push(uint32_t priority, Candidate candidate) {
    // The priority that is being emptied wants its newcomers at once, in order.
    if (!open_.empty() && open_.back().priority == priority) {
      open_.back().late.push_back(candidate);
      std::push_heap(open_.back().late.begin(), open_.back().late.end());
      return;
    }
    std::vector<Candidate>& list = lists_[priority];
    if (list.empty()) mark(priority);
    list.push_back(candidate);
  }

  bool pop(Candidate* out) {
    while (!open_.empty() && open_.back().empty()) open_.pop_back();
    const uint32_t first = first_marked();
    if (first != kNone && (open_.empty() || first <= open_.back().priority)) open(first);
    if (open_.empty()) return false;
    open_.back().take(out);
    return true;
  }

 private:
  static constexpr uint32_t kNone = 0xFFFFFFFF;

  // A list taken out of the queue. They nest: merging may make candidates of a better priority.
  struct Open {
    uint32_t priority;
    std::vector<Candidate> ordered, late;
    size_t at = 0;
    bool empty() const { return at == ordered.size() && late.empty(); }
    void take(Candidate* out) {
      if (!late.empty() && (at == ordered.size() || late.front().left < ordered[at].left)) {
        *out = late.front();
        std::pop_heap(late.begin(), late.end());
        late.pop_back();
      } else {
        *out = ordered[at++];
      }
    }
  };

  void open(uint32_t priority) {
    Open next{priority, {}, {}, 0};
    next.ordered.swap(lists_[priority]);
    unmark(priority);
    const auto by_left = [](const Candidate& a, const Candidate& b) { return a.left < b.left; };
    if (!std::is_sorted(next.ordered.begin(), next.ordered.end(), by_left))
      std::sort(next.ordered.begin(), next.ordered.end(), by_left);
    open_.push_back(std::move(next));
  }

  void mark(uint32_t at) {
    for (std::vector<uint64_t>& level : levels_) {
      uint64_t& word = level[at / 64];
      const bool known = word != 0;
      word |= uint64_t{1} << (at % 64);
      if (known) return;
      at /= 64;
    }
  }
  void unmark(uint32_t at) {
    for (std::vector<uint64_t>& level : levels_) {
      uint64_t& word = level[at / 64];
      word &= ~(uint64_t{1} << (at % 64));
      if (word != 0) return;
      at /= 64;
    }
  }
  uint32_t first_marked() const {
    if (levels_.back()[0] == 0) return kNone;
    uint32_t at = 0;
    for (size_t i = levels_.size(); i-- > 0;)
      at = at * 64 + static_cast<uint32_t>(std::countr_zero(levels_[i][at]));
    return at;
  }

  std::vector<std::vector<Candidate>> lists_;
  std::vector<std::vector<uint64_t>>
      levels_;  // the lowest first; a bit says that something is below it
  std::vector<Open> open_;
};

class Merger {
 public:
  static constexpr size_t kShort = 40;

  std::vector<Symbol>
      symbols;  // set begin, size and id in order; afterwards those of size > 0 remain

  // pair(left, right, &merge) says whether two adjacent symbols may merge, and into what;
  // priorities are below priority_count.
  template <typename Pair>
  void run(const Pair& pair, uint32_t priority_count) {
    if (symbols.size() <= kShort) {
      run_short(pair);
    } else if (symbols.size() <= kMedium) {
      run_heap(pair);
    } else {
      run_long(pair, priority_count);
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

  // Making the lists of a MergeQueue costs time in the number of priorities: below kMedium a heap
  // is cheaper.
  template <typename Pair>
  void run_heap(const Pair& pair) {
    link();
    heap_.clear();
    const auto push = [&](int32_t left) {
      MergeQueue::Candidate candidate{};
      uint32_t priority = 0;
      if (!candidate_at(left, pair, &candidate, &priority)) return;
      heap_.push_back({uint64_t{priority} << 32 | candidate.left, candidate.size, candidate.id});
      std::push_heap(heap_.begin(), heap_.end());
    };
    for (size_t i = 0; i + 1 < symbols.size(); ++i) push(static_cast<int32_t>(i));
    while (!heap_.empty()) {
      const HeapItem best = heap_.front();
      std::pop_heap(heap_.begin(), heap_.end());
      heap_.pop_back();
      const auto left = static_cast<uint32_t>(best.key);
      if (!apply({left, best.size, best.id})) continue;
      push(symbols[left].prev);
      push(static_cast<int32_t>(left));
    }
  }

  template <typename Pair>
  void run_long(const Pair& pair, uint32_t priority_count) {
    link();
    MergeQueue queue(priority_count);
    MergeQueue::Candidate candidate{};
    const auto push = [&](int32_t left) {
      uint32_t priority = 0;
      if (candidate_at(left, pair, &candidate, &priority)) queue.push(priority, candidate);
    };
    for (size_t i = 0; i + 1 < symbols.size(); ++i) push(static_cast<int32_t>(i));
    while (queue.pop(&candidate)) {
      const uint32_t left = candidate.left;
      if (!apply(candidate)) continue;
      push(symbols[left].prev);
      push(static_cast<int32_t>(left));
    }
  }

 private:
  static constexpr size_t kMedium = 4096;

  struct HeapItem {
    uint64_t key;  // priority above the index of the left symbol
    uint32_t size;
    int32_t id;
    bool operator<(const HeapItem& other) const {
      return key > other.key;
    }  // the heap's top is the least
  };

  void link() {
    const auto count = static_cast<int32_t>(symbols.size());
    for (int32_t i = 0; i < count; ++i) {
      symbols[static_cast<size_t>(i)].prev = i - 1;
      symbols[static_cast<size_t>(i)].next = i + 1 < count ? i + 1 : -1;
    }
  }

  template <typename Pair>
  bool candidate_at(int32_t left, const Pair& pair, MergeQueue::Candidate* out,
                    uint32_t* priority) const {
    if (left < 0 || symbols[static_cast<size_t>(left)].next < 0) return false;
    const Symbol& a = symbols[static_cast<size_t>(left)];
    const Symbol& b = symbols[static_cast<size_t>(a.next)];
    Merge merge;
    if (!pair(a, b, &merge)) return false;
    *out = {static_cast<uint32_t>(left), a.size + b.size, merge.id};
    *priority = merge.priority;
    return true;
  }

  // A candidate is stale when either side has merged since: then the sizes no longer add up.
  bool apply(const MergeQueue::Candidate& candidate) {
    Symbol& a = symbols[candidate.left];
    if (a.size == 0 || a.next < 0) return false;
    Symbol& b = symbols[static_cast<size_t>(a.next)];
    if (a.size + b.size != candidate.size) return false;
    a.size = candidate.size;
    a.id = candidate.id;
    a.next = b.next;
    b.size = 0;
    if (a.next >= 0)
      symbols[static_cast<size_t>(a.next)].prev = static_cast<int32_t>(candidate.left);
    return true;
  }

  std::vector<uint64_t> best_;
  std::vector<HeapItem> heap_;
};

}  // namespace geist::text
