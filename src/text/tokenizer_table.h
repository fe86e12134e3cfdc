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

inline uint64_t hash_mix(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// Multiply-and-fold over overlapping words (after Wang Yi's wyhash): short strings take two loads.
inline uint64_t hash_bytes(const char* p, size_t n) {
  constexpr uint64_t k0 = 0xa0761d6478bd642fu, k1 = 0xe7037ed1a0b428dbu;
  const auto load64 = [](const char* q) {
    uint64_t v;
    std::memcpy(&v, q, 8);
    return v;
  };
  const auto load32 = [](const char* q) {
    uint32_t v;
    std::memcpy(&v, q, 4);
    return uint64_t{v};
  };
  const auto byte = [&](size_t i) { return uint64_t{static_cast<unsigned char>(p[i])}; };
  if (n <= 3)
    return n == 0 ? k0 : hash_mix((byte(0) << 16 | byte(n / 2) << 8 | byte(n - 1)) ^ k0, n ^ k1);
  if (n <= 7) return hash_mix((load32(p) << 32 | load32(p + n - 4)) ^ k0, n ^ k1);
  uint64_t h = n ^ k1;
  for (; n > 16; n -= 16, p += 16) h = hash_mix(load64(p) ^ k0, load64(p + 8) ^ h);
  const bool two =
      n >= 8;  // after the loop 1 to 16 bytes are left; the bytes before them are ours to read
  return hash_mix(load64(two ? p : p + n - 8) ^ k0, load64(p + n - 8) ^ h);
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
          std::memcmp(keys_.data() + slot.offset, key.data(), key.size()) == 0)
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

// The words that one encode() call has met: an entry points at the word in the input and at its
// tokens in the output, so that nothing is stored twice and nothing is shared between threads.
class WordCache {
 public:
  struct Entry {
    const char* text = nullptr;
    uint32_t size = 0;
    uint32_t count = 0;
    size_t first = 0;  // index of its first token in the output
  };
  static constexpr size_t kWordBytesMax = 128;  // longer words are rare, and dear to compare

  explicit WordCache(size_t text_bytes) {
    size_t count = std::bit_ceil(text_bytes / 16 + 16);
    if (count > kEntriesMax) count = kEntriesMax;
    entries_.resize(count + kProbes);
    mask_ = count - 1;
  }
  // The entry of an equal word, or one to fill in (its text differs from `word`).
  Entry& find(std::string_view word, bool* hit) {
    Entry* entry = &entries_[hash_bytes(word.data(), word.size()) & mask_];
    for (size_t probe = 0;; ++probe, ++entry) {
      *hit = entry->size == word.size() && entry->text != nullptr &&
             std::memcmp(entry->text, word.data(), word.size()) == 0;
      // When all probes are taken the last one is given up: the newest word is the likeliest to
      // come again.
      if (*hit || entry->text == nullptr || probe + 1 == kProbes) return *entry;
    }
  }

 private:
  static constexpr size_t kEntriesMax = size_t{1} << 16;
  static constexpr size_t kProbes = 4;
  std::vector<Entry> entries_;
  size_t mask_ = 0;
};

}  // namespace geist::text
