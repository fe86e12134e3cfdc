#include <algorithm>
#include <bit>

#include "text/jinja_value.h"

namespace geist::text::jinja {
namespace {

constexpr size_t kLinearMax = 8;  // below this a scan beats hashing

bool same_key(Heap& heap, const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) return a.text() == b.text();
  return equals(heap, a, b);
}

bool hashable(Heap& heap, const Value& key) {
  if (key.is_string() || key.is_numeric() || key.is_none()) return true;
  hash_of(heap, key);
  return !heap.failed();
}

// The slot of key, or the empty slot where it belongs. The table is never full.
uint32_t* slot_of(Heap& heap, const Dict& dict, const Value& key, uint64_t hash) {
  for (size_t i = hash & (dict.index_size - 1);; i = (i + 1) & (dict.index_size - 1)) {
    uint32_t* const slot = dict.index + i;
    if (*slot == 0 || !heap.spend(1) || same_key(heap, dict.entries[*slot - 1].key, key))
      return slot;
  }
}

// Hostile keys cannot make this slow: every probe is a step.
void rebuild_index(Heap& heap, Dict& dict) {
  dict.index = nullptr;
  dict.index_size = 0;
  if (dict.capacity <= kLinearMax) return;
  const size_t size = std::bit_ceil(dict.capacity * 2);
  uint32_t* const table = heap.array<uint32_t>(size);
  if (table == nullptr) return;
  std::fill_n(table, size, 0);
  dict.index = table;
  dict.index_size = size;
  for (size_t i = 0; i < dict.size; ++i) {
    const Value& key = dict.entries[i].key;
    *slot_of(heap, dict, key, hash_of(heap, key)) = static_cast<uint32_t>(i + 1);
  }
}

}  // namespace

Value* Dict::find(Heap& heap, const Value& key) const {
  if (!hashable(heap, key)) return nullptr;
  if (index != nullptr) {
    const uint32_t entry = *slot_of(heap, *this, key, hash_of(heap, key));
    return entry == 0 || heap.failed() ? nullptr : &entries[entry - 1].value;
  }
  if (!heap.spend(1 + size / 8)) return nullptr;
  for (size_t i = 0; i < size; ++i) {
    if (same_key(heap, entries[i].key, key)) return &entries[i].value;
  }
  return nullptr;
}

void Dict::set(Heap& heap, const Value& key, const Value& value) {
  if (Value* const present = find(heap, key)) {
    *present = value;
    return;
  }
  if (heap.failed()) return;
  if (size == capacity) {
    const size_t grown_capacity = capacity == 0 ? 4 : capacity * 2;
    Entry* const grown = heap.array<Entry>(grown_capacity);
    if (grown == nullptr) return;
    std::copy_n(entries, size, grown);
    entries = grown;
    capacity = grown_capacity;
    rebuild_index(heap, *this);
    if (heap.failed()) return;
  }
  entries[size++] = {key, value};
  if (index != nullptr) {
    *slot_of(heap, *this, key, hash_of(heap, key)) = static_cast<uint32_t>(size);
  }
}

bool Dict::erase(Heap& heap, const Value& key) {
  const Value* const value = find(heap, key);
  if (value == nullptr) return false;
  size_t i = 0;
  while (&entries[i].value != value) ++i;
  if (!heap.spend_bytes((size - i) * sizeof(Entry))) return false;
  std::copy(entries + i + 1, entries + size, entries + i);
  --size;
  rebuild_index(heap, *this);
  return true;
}

}  // namespace geist::text::jinja
