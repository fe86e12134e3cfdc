// Hash tables of the tokenizers: text to id, pairs of ids to merges, and the words of one encode()
// call.
//
// They are open-addressed and never rehash by address or by a random seed, so results and timing
// repeat. Keys of the first two come from a vocabulary; keys of the word cache come from whoever
// wrote the text, so its probes are bounded: colliding words cost a merge again, never a long
// search.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace geist::text {

inline uint64_t load64(const char* p) {
  uint64_t v;
  std::memcpy(&v, p, 8);
  return v;
}
inline uint64_t load32(const char* p) {
  uint32_t v;
  std::memcpy(&v, p, 4);
  return v;
}

inline uint64_t hash_mix(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// A string of up to 16 bytes as two words that overlap: with the length they say it completely.
struct ShortKey {
  uint64_t a, b;
};
inline ShortKey short_key(const char* p, size_t n) {
  if (n >= 8) return {load64(p), load64(p + n - 8)};
  if (n >= 4) return {load32(p), load32(p + n - 4)};
  const auto byte = [p](size_t i) { return uint64_t{static_cast<unsigned char>(p[i])}; };
  return {n == 0 ? 0 : byte(0) << 16 | byte(n / 2) << 8 | byte(n - 1), 0};
}

// Multiply-and-fold (after Wang Yi's wyhash): short strings take two loads and two products.
inline uint64_t hash_short(ShortKey key, size_t n) {
  return hash_mix(hash_mix(key.a ^ 0xa0761d6478bd642fu, key.b ^ 0xe7037ed1a0b428dbu) ^ n,
                  0x8ebc6af09c88c6e3u);
}
inline uint64_t hash_bytes(const char* p, size_t n) {
  if (n <= 16) return hash_short(short_key(p, n), n);
  uint64_t h = n;
  size_t left = n;
  for (; left > 16; left -= 16, p += 16)
    h = hash_mix(load64(p) ^ 0xa0761d6478bd642fu, load64(p + 8) ^ h);
  return hash_short({load64(p + left - 16), load64(p + left - 8) ^ h}, n);
}

// memcmp() == 0 for strings that are mostly shorter than a call is worth.
inline bool equal_bytes(const char* a, const char* b, size_t n) {
  if (n < 8) {
    for (size_t i = 0; i < n; ++i)
      if (a[i] != b[i]) return false;
    return true;
  }
  for (size_t i = 0; i + 8 < n; i += 8)
    if (load64(a + i) != load64(b + i)) return false;
  return load64(a + n - 8) == load64(b + n - 8);
}

// Byte strings to ids. Keys are copied.
class TokenTable {
 public:
  void reserve(size_t count, size_t key_bytes) {
    slots_.assign(std::bit_ceil(count * 2 + 2), Slot{});
    keys_.reserve(key_bytes);
  }
  // False when the key is already there; its id stays.
  bool insert(std::string_view key, int32_t id) {
    if ((count_ + 1) * 2 > slots_.size()) grow();
    const uint64_t hash = hash_bytes(key.data(), key.size());
    Slot& slot = slots_[locate(key, hash)];
    if (slot.id >= 0) return false;
    slot = {static_cast<uint32_t>(hash >> 32), static_cast<uint32_t>(keys_.size()),
            static_cast<uint32_t>(key.size()), id};
    keys_ += key;
    ++count_;
    return true;
  }
  int32_t find(std::string_view key) const {
    return slots_.empty() ? -1 : slots_[locate(key, hash_bytes(key.data(), key.size()))].id;
  }

 private:
  struct Slot {
    uint32_t tag = 0, offset = 0, size = 0;
    int32_t id = -1;
  };
  size_t locate(std::string_view key, uint64_t hash) const {
    const size_t mask = slots_.size() - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
      const Slot& slot = slots_[i];
      if (slot.id < 0) return i;
      if (slot.tag == static_cast<uint32_t>(hash >> 32) && slot.size == key.size() &&
          equal_bytes(keys_.data() + slot.offset, key.data(), key.size()))
        return i;
    }
  }
  void grow() {
    std::vector<Slot> old(std::bit_ceil(slots_.size() * 2 + 16));
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.id < 0) continue;
      const std::string_view key(keys_.data() + slot.offset, slot.size);
      slots_[locate(key, hash_bytes(key.data(), key.size()))] = slot;
    }
  }

  std::vector<Slot> slots_;
  std::string keys_;
  size_t count_ = 0;
};

// Pairs of 32-bit numbers to a pair of values; sized once.
class PairTable {
 public:
  struct Slot {
    uint64_t key = kEmpty;
    uint32_t rank = 0;
    int32_t id = -1;
  };
  void reserve(size_t count) { slots_.assign(std::bit_ceil(count * 2 + 2), Slot{}); }
  // The first value for a key stays. At most the reserved count of keys.
  void insert(uint32_t a, uint32_t b, uint32_t rank, int32_t id) {
    Slot& slot = slots_[locate(key_of(a, b))];
    if (slot.key == kEmpty) slot = {key_of(a, b), rank, id};
  }
  // Null when absent.
  const Slot* find(uint32_t a, uint32_t b) const {
    const Slot& slot = slots_[locate(key_of(a, b))];
    return slot.key == kEmpty ? nullptr : &slot;
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  static uint64_t key_of(uint32_t a, uint32_t b) { return uint64_t{a} << 32 | b; }
  size_t locate(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    size_t i = hash_mix(key ^ 0xa0761d6478bd642fu, 0xe7037ed1a0b428dbu) & mask;
    while (slots_[i].key != kEmpty && slots_[i].key != key) i = (i + 1) & mask;
    return i;
  }
  std::vector<Slot> slots_ = std::vector<Slot>(2);
};

// Byte strings to ids by the longest that begins at a place in a text. The edges of the trie are
// hashed.
class ByteTrie {
 public:
  struct Match {
    size_t size = 0;
    int32_t id = -1;  // -1: none begins here
  };
  // Before any insert(): how many bytes all keys have together.
  void reserve(size_t key_bytes) {
    edges_.reserve(key_bytes);
    ids_.assign(1, -1);
  }
  void insert(std::string_view key, int32_t id) {
    uint32_t node = 0;
    for (const char c : key) {
      const auto byte = static_cast<unsigned char>(c);
      const PairTable::Slot* edge = edges_.find(node, byte);
      const auto next =
          edge != nullptr ? static_cast<uint32_t>(edge->id) : static_cast<uint32_t>(ids_.size());
      if (edge == nullptr) {
        edges_.insert(node, byte, 0, static_cast<int32_t>(next));
        ids_.push_back(-1);
      }
      node = next;
    }
    ids_[node] = id;
  }
  Match longest(std::string_view text, size_t from) const {
    Match match;
    uint32_t node = 0;
    for (size_t i = from; i < text.size(); ++i) {
      const PairTable::Slot* edge = edges_.find(node, static_cast<unsigned char>(text[i]));
      if (edge == nullptr) break;
      node = static_cast<uint32_t>(edge->id);
      if (ids_[node] >= 0) match = {i + 1 - from, ids_[node]};
    }
    return match;
  }

 private:
  PairTable edges_;  // (node, byte) to node
  std::vector<int32_t> ids_;
};

// The words that one encode() call has met, and their tokens. An entry is half a cache line: a word
// of up to 16 bytes and up to 3 tokens lie in it; longer ones refer to the input and to the output,
// which both stay for the length of the call. Nothing is shared between threads, nothing outlives
// the call.
class WordCache {
 public:
  static constexpr size_t kWordBytesMax = 128;  // longer words are rare, and dear to compare
  static constexpr size_t kIdsMax = 3;

  struct Entry {
    uint64_t a = 0, b = 0;  // the word: ShortKey, or hash and address
    uint16_t size = 0, count = 0;
    uint32_t ids[kIdsMax] = {0, 0, 0};  // the tokens, or in two halves where they are in the output
    uint64_t first() const { return uint64_t{ids[1]} << 32 | ids[0]; }
  };

  explicit WordCache(size_t text_bytes) {
    size_t count = std::bit_ceil(text_bytes / 16 + 16);
    if (count > kEntriesMax) count = kEntriesMax;
    entries_.resize(count + kProbes);
    mask_ = count - 1;
  }

  // The entry of an equal word (*hit), or one that now stands for this word and wants its tokens.
  // 1 to kWordBytesMax bytes.
  Entry& find(std::string_view word, bool* hit) {
    const bool brief = word.size() <= 16;
    ShortKey key{0, reinterpret_cast<uintptr_t>(word.data())};
    if (brief) key = short_key(word.data(), word.size());
    const uint64_t hash =
        brief ? hash_short(key, word.size()) : hash_bytes(word.data(), word.size());
    if (!brief) key.a = hash;
    Entry* entry = &entries_[hash & mask_];
    for (size_t probe = 0;; ++probe, ++entry) {
      if (entry->size == word.size() && entry->a == key.a &&
          (brief ? entry->b == key.b
                 : equal_bytes(reinterpret_cast<const char*>(static_cast<uintptr_t>(entry->b)),
                               word.data(), word.size()))) {
        *hit = true;
        return *entry;
      }
      // When all probes are taken the last one is given up: the newest word is the likeliest to
      // come again.
      if (entry->size == 0 || probe + 1 == kProbes) break;
    }
    *hit = false;
    entry->a = key.a;
    entry->b = key.b;
    entry->size = static_cast<uint16_t>(word.size());
    return *entry;
  }

 private:
  static constexpr size_t kEntriesMax = size_t{1} << 16;
  static constexpr size_t kProbes = 4;
  std::vector<Entry> entries_;
  size_t mask_ = 0;
};
static_assert(sizeof(WordCache::Entry) == 32);

}  // namespace geist::text
