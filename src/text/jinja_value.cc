#include "text/jinja_value.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/unicode.h"
#include "text/jinja_text.h"

namespace geist::text::jinja {
namespace {

// Whether an int and a float are the same number, exactly.
int compare_int_float(int64_t i, double f) {
  if (f >= 0x1p63) return -1;
  if (f < -0x1p63) return 1;
  const auto truncated = static_cast<int64_t>(f);
  if (i != truncated) return i < truncated ? -1 : 1;
  const double rest = f - static_cast<double>(truncated);
  return rest > 0 ? -1 : rest < 0 ? 1 : 0;
}

int sign_of(double a, double b) { return a < b ? -1 : a > b ? 1 : 0; }

// Precondition: both numeric. NaN is unequal to all and less than none.
int compare_numbers(const Value& a, const Value& b, bool* ordered) {
  *ordered = true;
  const bool fa = a.kind() == Kind::kFloat, fb = b.kind() == Kind::kFloat;
  if ((fa && std::isnan(a.real())) || (fb && std::isnan(b.real()))) return *ordered = false, 0;
  if (fa && fb) return sign_of(a.real(), b.real());
  if (fa) return -compare_int_float(b.integer(), a.real());
  if (fb) return compare_int_float(a.integer(), b.real());
  return a.integer() < b.integer() ? -1 : a.integer() > b.integer() ? 1 : 0;
}

bool equal_lists(Heap& heap, const List& a, const List& b) {
  if (a.size != b.size) return false;
  for (size_t i = 0; i < a.size; ++i) {
    if (!equals(heap, a.items[i], b.items[i])) return false;
  }
  return true;
}

bool equal_dicts(Heap& heap, const Dict& a, const Dict& b) {
  if (a.size != b.size) return false;
  for (const auto& [key, value] : a.items()) {
    const Value* other = b.find(heap, key);
    if (other == nullptr || !equals(heap, value, *other)) return false;
  }
  return true;
}

uint64_t mix(uint64_t h) {
  h ^= h >> 32;
  h *= 0xd6e8feb86659fd93u;
  h ^= h >> 32;
  h *= 0xd6e8feb86659fd93u;
  return h ^ h >> 32;
}

uint64_t hash_bytes(std::string_view text) {
  uint64_t h = 0x9e3779b97f4a7c15u ^ text.size();
  while (text.size() >= 8) {
    uint64_t word;
    std::memcpy(&word, text.data(), 8);
    h = mix(h ^ word);
    text.remove_prefix(8);
  }
  uint64_t word = 0;
  std::memcpy(&word, text.data(), text.size());
  return mix(h ^ word);
}

uint64_t hash_number(const Value& value) {
  if (value.kind() == Kind::kFloat) {
    const double f = value.real();
    if (!(f >= -0x1p63 && f < 0x1p63) || f != std::trunc(f)) {
      uint64_t bits;
      std::memcpy(&bits, &f, 8);
      return mix(bits + 1);
    }
    return mix(static_cast<uint64_t>(static_cast<int64_t>(f)));
  }
  return mix(static_cast<uint64_t>(value.integer()));
}

}  // namespace

void List::push(Heap& heap, const Value& value) {
  if (size == capacity) {
    const size_t grown_capacity = capacity == 0 ? 4 : capacity * 2;
    Value* const grown = heap.array<Value>(grown_capacity);
    if (grown == nullptr) return;
    std::copy_n(items, size, grown);
    items = grown;
    capacity = grown_capacity;
  }
  items[size++] = value;
}

Value make_list(Heap& heap, std::span<const Value> items, Kind kind) {
  List* const list = heap.make<List>();
  if (!items.empty()) {
    if (Value* const copy = heap.array<Value>(items.size())) {
      std::copy(items.begin(), items.end(), copy);
      list->items = copy;
      list->size = list->capacity = items.size();
    }
  }
  return Value::of(kind, list);
}

const char* type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
    case Kind::kBigInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kRange:
      return "range";
    case Kind::kDictView:
      return "dict_items";
    case Kind::kGenerator:
      return "generator";
    case Kind::kDict:
      return "dict";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kCallable:
      return "function";
    case Kind::kLoop:
      return "LoopContext";
  }
  return "object";
}

bool truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.integer() != 0;
    case Kind::kFloat:
      return value.real() != 0;
    case Kind::kString:
      return !value.text().empty();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kDictView:
      return value.list().size != 0;
    case Kind::kDict:
      return value.dict().size != 0;
    default:
      return true;
  }
}

bool equals(Heap& heap, const Value& a, const Value& b) {
  const Nesting nesting(heap);
  if (!nesting || !heap.spend(1)) return false;
  if (a.is_numeric() && b.is_numeric()) {
    bool ordered;
    return compare_numbers(a, b, &ordered) == 0 && ordered;
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kBigInt:
    case Kind::kString:
      return a.text().size() == b.text().size() && heap.spend_bytes(a.text().size()) &&
             a.text() == b.text();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kDictView:
      return equal_lists(heap, a.list(), b.list());
    case Kind::kDict:
      return equal_dicts(heap, a.dict(), b.dict());
    default:
      return a.identity() == b.identity();
  }
}

int compare(Heap& heap, const Value& a, const Value& b) {
  const Nesting nesting(heap);
  if (!nesting || !heap.spend(1)) return 0;
  bool ordered;
  if (a.is_numeric() && b.is_numeric()) return compare_numbers(a, b, &ordered);
  if (a.is_string() && b.is_string()) {
    // UTF-8 sorts by bytes as its code points do.
    heap.spend_bytes(std::min(a.text().size(), b.text().size()));
    const int order = a.text().compare(b.text());
    return order < 0 ? -1 : order > 0 ? 1 : 0;
  }
  if (a.kind() == b.kind() && (a.kind() == Kind::kList || a.kind() == Kind::kTuple)) {
    const auto x = a.list().values(), y = b.list().values();
    for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
      if (!equals(heap, x[i], y[i])) return compare(heap, x[i], y[i]);
    }
    return x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0;
  }
  heap.fail("'<' is not supported between %s and %s", type_name(a), type_name(b));
  return 0;
}

bool less(Heap& heap, const Value& a, const Value& b) { return compare(heap, a, b) < 0; }

uint64_t hash_of(Heap& heap, const Value& key) {
  const Nesting nesting(heap);
  if (!nesting) return 0;
  switch (key.kind()) {
    case Kind::kUndefined:
      return 1;
    case Kind::kNone:
      return 2;
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      return hash_number(key);
    case Kind::kBigInt:
    case Kind::kString:
      heap.spend_bytes(key.text().size());
      return hash_bytes(key.text());
    case Kind::kTuple:
    case Kind::kRange: {
      uint64_t h = 3;
      for (const Value& item : key.list().values()) {
        if (!heap.spend(1)) break;
        h = mix(h * 31 + hash_of(heap, item));
      }
      return h;
    }
    default:
      heap.fail("unhashable type: '%s'", type_name(key));
      return 0;
  }
}

bool contains(Heap& heap, const Value& haystack, const Value& needle) {
  switch (haystack.kind()) {
    case Kind::kUndefined:
      return false;
    case Kind::kString:
      if (!needle.is_string()) {
        heap.fail("'in <string>' requires string as left operand, not %s", type_name(needle));
        return false;
      }
      return find_text(heap, haystack.text(), needle.text(), 0) != std::string_view::npos;
    case Kind::kDict:
      return haystack.dict().find(heap, needle) != nullptr;
    default:
      break;
  }
  for (const Value& item : iterate(heap, haystack)) {
    if (!heap.spend(1)) return false;
    if (equals(heap, item, needle)) return true;
  }
  return false;
}

std::span<const Value> iterate(Heap& heap, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return {};
    case Kind::kString:
      return characters(heap, value);
    case Kind::kGenerator: {
      const auto items = value.list().values();
      value.list().size = 0;
      return items;
    }
    case Kind::kDict: {
      const auto entries = value.dict().items();
      Value* const keys = heap.array<Value>(entries.size());
      if (keys == nullptr) return {};
      for (size_t i = 0; i < entries.size(); ++i) keys[i] = entries[i].key;
      return {keys, entries.size()};
    }
    default:
      break;
  }
  if (value.is_sequence()) return value.list().values();
  heap.fail("'%s' object is not iterable", type_name(value));
  return {};
}

size_t length_of(Heap& heap, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return character_count(heap, value.text());
    case Kind::kDict:
      return value.dict().size;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kDictView:
      return value.list().size;
    default:
      break;
  }
  heap.fail("object of type '%s' has no length", type_name(value));
  return 0;
}

}  // namespace geist::text::jinja
