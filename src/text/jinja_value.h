// Values of the template language, with Python's semantics, and the heap they live in.
//
// A template is hostile, so one object owns everything that a rendering can consume: Heap hands out
// memory from an arena that is freed as a whole (no destructor ever recurses into a nest of lists,
// and cycles cost nothing), counts steps and nesting, and remembers the first failure. Failure is
// sticky: after it spend() and enter() answer false, evaluation unwinds by returning empty values,
// and the message is read once at the end. No function here throws.
//
// Value is 16 bytes and trivially copyable; strings are views of the arena, of the template or of
// the context's JSON, so slicing, splitting and trimming copy nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "text/chat_template.h"

namespace geist::text::jinja {

class Heap {
 public:
  explicit Heap(const RenderLimits& limits) : limits_(limits) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  // Counts work; false when the budget is gone or the rendering has failed.
  bool spend(uint64_t steps);
  // Work that touches n bytes. Copying 16 bytes costs about what a step does.
  bool spend_bytes(uint64_t n) { return spend(1 + n / 16); }

  // Memory of the arena, aligned for any value. Null after a failure or beyond memory_bytes_max.
  void* allocate(size_t bytes);
  template <typename T>
  T* array(size_t count) {
    static_assert(std::is_trivially_destructible_v<T>);
    if (count > limits_.memory_bytes_max / sizeof(T)) return fail("out of memory"), nullptr;
    return static_cast<T*>(allocate(count * sizeof(T)));
  }
  // One small object; never null (a failed heap still serves these, evaluation ends soon after).
  template <typename T>
  T* make() {
    static_assert(std::is_trivially_destructible_v<T>);
    return new (raw(sizeof(T))) T();
  }

  // A copy of text, or of two texts joined; charged by size. A text that ends where the arena does
  // grows in place, which makes building a string piece by piece linear.
  std::string_view copy(std::string_view text) { return concat({}, text); }
  std::string_view concat(std::string_view a, std::string_view b);

  // Records the first failure, with the line of the node being evaluated.
  __attribute__((format(printf, 2, 3))) void fail(const char* format, ...);
  bool failed() const { return failed_; }
  const std::string& message() const { return message_; }
  void set_line(int line) { line_ = line; }
  int line() const { return line_; }

  bool enter(const char* what);
  void leave() { --depth_; }
  const RenderLimits& limits() const { return limits_; }

 private:
  // room: bytes to keep free behind, in case a new block is needed.
  void* raw(size_t bytes, size_t room = 0);
  bool charge_memory(size_t bytes);

  RenderLimits limits_;
  std::vector<std::unique_ptr<char[]>> blocks_;
  char* top_ = nullptr;
  char* end_ = nullptr;
  uint64_t memory_bytes_ = 0;
  uint64_t steps_ = 0;
  uint64_t depth_ = 0;
  bool failed_ = false;
  int line_ = 0;
  std::string message_;
};

// Guards a recursion: `Nesting nesting(heap); if (!nesting) return {};`
class Nesting {
 public:
  explicit Nesting(Heap& heap, const char* what = "the template")
      : heap_(heap), ok_(heap.enter(what)) {}
  ~Nesting() { heap_.leave(); }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;
  explicit operator bool() const { return ok_; }

 private:
  Heap& heap_;
  bool ok_;
};

enum class Kind : uint8_t {
  kUndefined,  // text() is the name that was missing
  kNone,
  kBool,
  kInt,
  kBigInt,  // an integer of the context beyond 64 bits: carried as its digits, not computed with
  kFloat,
  kString,
  kList,
  kTuple,
  kRange,
  kDictView,   // keys(), values(), items(): a snapshot
  kGenerator,  // what lazy filters return: true even when empty, gone after one iteration
  kDict,
  kNamespace,
  kCallable,
  kLoop,
};

struct List;
struct Dict;
struct Callable;
struct Loop;

class Value {
 public:
  Value() : int_(0) {}
  static Value undefined(std::string_view name) { return Value(Kind::kUndefined, name); }
  static Value none() { return Value(Kind::kNone, int64_t{0}); }
  static Value boolean(bool b) { return Value(Kind::kBool, int64_t{b}); }
  static Value integer(int64_t i) { return Value(Kind::kInt, i); }
  static Value big_integer(std::string_view digits) { return Value(Kind::kBigInt, digits); }
  static Value real(double f) {
    Value v;
    v.kind_ = Kind::kFloat;
    v.float_ = f;
    return v;
  }
  static Value string(std::string_view text) { return Value(Kind::kString, text); }
  // Text that the safe and escape filters made: adding a plain string to it escapes that string.
  static Value markup(std::string_view text) {
    Value v(Kind::kString, text);
    v.markup_ = true;
    return v;
  }
  static Value of(Kind kind, List* list) {
    Value v;
    v.kind_ = kind;
    v.list_ = list;
    return v;
  }
  static Value of(Kind kind, Dict* dict) {
    Value v;
    v.kind_ = kind;
    v.dict_ = dict;
    return v;
  }
  static Value of(Callable* callable) {
    Value v;
    v.kind_ = Kind::kCallable;
    v.callable_ = callable;
    return v;
  }
  static Value of(Loop* loop) {
    Value v;
    v.kind_ = Kind::kLoop;
    v.loop_ = loop;
    return v;
  }

  Kind kind() const { return kind_; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_none() const { return kind_ == Kind::kNone; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_markup() const { return kind_ == Kind::kString && markup_; }
  bool is_dict() const { return kind_ == Kind::kDict; }
  // An integer in Python's eyes: bool is one.
  bool is_integral() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }
  bool is_numeric() const { return is_integral() || kind_ == Kind::kFloat; }
  // Has items in a List.
  bool is_sequence() const { return kind_ >= Kind::kList && kind_ <= Kind::kGenerator; }

  std::string_view text() const { return {chars_, size_}; }  // kUndefined, kBigInt, kString
  bool boolean() const { return int_ != 0; }
  int64_t integer() const { return int_; }  // kInt, kBool
  double real() const { return kind_ == Kind::kFloat ? float_ : static_cast<double>(int_); }
  List& list() const { return *list_; }
  Dict& dict() const { return *dict_; }
  Callable& callable() const { return *callable_; }
  Loop& loop() const { return *loop_; }
  // The object's address: what `is sameas` compares.
  const void* identity() const { return list_; }

  // The same value, of another kind with the same payload (a list as a tuple, text as markup).
  Value as(Kind kind) const {
    Value v = *this;
    v.kind_ = kind;
    return v;
  }
  Value with_markup(bool markup) const {
    Value v = *this;
    v.markup_ = markup;
    return v;
  }

 private:
  Value(Kind kind, int64_t i) : kind_(kind), int_(i) {}
  Value(Kind kind, std::string_view text)
      : kind_(kind), size_(static_cast<uint32_t>(text.size())), chars_(text.data()) {}

  Kind kind_ = Kind::kUndefined;
  bool markup_ = false;
  uint32_t size_ = 0;
  union {
    int64_t int_;
    double float_;
    const char* chars_;
    List* list_;
    Dict* dict_;
    Callable* callable_;
    Loop* loop_;
  };
};
static_assert(sizeof(Value) == 16 && std::is_trivially_copyable_v<Value>);

struct List {
  Value* items = nullptr;
  size_t size = 0, capacity = 0;
  int64_t range_start = 0, range_stop = 0, range_step = 1;  // kRange, for its repr()
  bool is_group = false;  // a pair of groupby, whose items have names, too

  void push(Heap& heap, const Value& value);
  std::span<const Value> values() const { return {items, size}; }
};

// Python's dict: insertion order, keys equal across int, float and bool.
struct Dict {
  struct Entry {
    Value key, value;
  };
  Entry* entries = nullptr;
  size_t size = 0, capacity = 0;
  uint32_t* index = nullptr;  // open addressing: entry number + 1; null while the dict is small
  size_t index_size = 0;

  // Null when absent. An unhashable key fails the rendering.
  Value* find(Heap& heap, const Value& key) const;
  Value* find(Heap& heap, std::string_view key) const { return find(heap, Value::string(key)); }
  void set(Heap& heap, const Value& key, const Value& value);
  bool erase(Heap& heap, const Value& key);
  std::span<Entry> items() const { return {entries, size}; }
};

Value make_list(Heap& heap, std::span<const Value> items, Kind kind = Kind::kList);

// --- Python's built-in semantics
// -------------------------------------------------------------------

const char* type_name(const Value& value);
bool truthy(const Value& value);
bool equals(Heap& heap, const Value& a, const Value& b);
// -1, 0 or 1; values without an order fail the rendering. NaN compares as "not less" both ways.
int compare(Heap& heap, const Value& a, const Value& b);
bool less(Heap& heap, const Value& a, const Value& b);
uint64_t hash_of(Heap& heap, const Value& key);
// `needle in haystack`.
bool contains(Heap& heap, const Value& haystack, const Value& needle);

// str() and repr(), appended to out.
void append_str(Heap& heap, std::string& out, const Value& value);
void append_repr(Heap& heap, std::string& out, const Value& value);
// str() as a value; strings are returned as they are.
Value to_string(Heap& heap, const Value& value);

// What iterating gives: characters of a string, keys of a dict. Undefined is empty; a value that
// cannot be iterated fails. A generator is emptied.
std::span<const Value> iterate(Heap& heap, const Value& value);
// len(); fails for values without one.
size_t length_of(Heap& heap, const Value& value);

}  // namespace geist::text::jinja
