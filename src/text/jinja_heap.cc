#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "text/jinja_value.h"

namespace geist::text::jinja {
namespace {

constexpr size_t kBlockBytes = 64 << 10;
constexpr size_t kAlignment = alignof(std::max_align_t);

}  // namespace

bool Heap::spend(uint64_t steps) {
  if (failed_) return false;
  steps_ += std::min(steps, limits_.steps_max + 1);
  if (steps_ <= limits_.steps_max) return true;
  fail("the template takes more than %llu steps",
       static_cast<unsigned long long>(limits_.steps_max));
  return false;
}

bool Heap::charge_memory(size_t bytes) {
  if (!spend_bytes(bytes)) return false;
  if (memory_bytes_ + bytes <= limits_.memory_bytes_max) return true;
  fail("the template takes more than %llu MB of memory",
       static_cast<unsigned long long>(limits_.memory_bytes_max >> 20));
  return false;
}

void* Heap::allocate(size_t bytes) { return charge_memory(bytes) ? raw(bytes) : nullptr; }

void* Heap::raw(size_t bytes, size_t room) {
  size_t padding = -reinterpret_cast<uintptr_t>(top_) & (kAlignment - 1);
  if (top_ == nullptr || padding + bytes > static_cast<size_t>(end_ - top_)) {
    const size_t block_bytes = std::max(bytes + room + kAlignment, kBlockBytes);
    blocks_.emplace_back(new char[block_bytes]);
    top_ = blocks_.back().get();
    end_ = top_ + block_bytes;
    padding = -reinterpret_cast<uintptr_t>(top_) & (kAlignment - 1);
  }
  char* const out = top_ + padding;
  top_ = out + bytes;
  memory_bytes_ += padding + bytes;
  return out;
}

std::string_view Heap::concat(std::string_view a, std::string_view b) {
  if (b.empty()) return a;
  const uint64_t size = uint64_t{a.size()} + b.size();
  if (size > UINT32_MAX) return fail("a string of %zu bytes", size_t{size}), std::string_view{};
  if (!a.empty() && a.data() + a.size() == top_ && b.size() <= static_cast<size_t>(end_ - top_)) {
    if (!charge_memory(b.size())) return {};
    std::memcpy(top_, b.data(), b.size());
    top_ += b.size();
    memory_bytes_ += b.size();
    return {a.data(), size};
  }
  if (!charge_memory(size)) return {};
  // Room to grow as much again makes appending to a long string linear.
  char* const out = static_cast<char*>(raw(size, a.size()));
  std::copy(a.begin(), a.end(), out);
  std::copy(b.begin(), b.end(), out + a.size());
  return {out, size};
}

void Heap::fail(const char* format, ...) {
  if (failed_) return;
  failed_ = true;
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  message_ = line_ > 0 ? "line " + std::to_string(line_) + ": " + text : text;
}

bool Heap::enter(const char* what) {
  ++depth_;
  if (failed_) return false;
  if (depth_ <= limits_.depth_max) return true;
  fail("%s nests deeper than %llu levels", what,
       static_cast<unsigned long long>(limits_.depth_max));
  return false;
}

}  // namespace geist::text::jinja
