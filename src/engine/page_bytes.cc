#include "engine/page_bytes.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "engine/session.h"

namespace geist::engine {
namespace {

using Part = std::shared_ptr<std::byte[]>;

// A page of one part takes the file's bytes over; two parts are copied, since one may be given up
// before the other.
Part part_of(const StoredPage& stored, std::span<const std::byte> bytes) {
  if (bytes.empty()) return nullptr;
  if (bytes.size() == stored.record.full.size() + stored.record.window.size())
    return Part(stored.bytes, stored.bytes.get() + (bytes.data() - stored.bytes.get()));
  Part part = model::allocate_part(static_cast<int64_t>(bytes.size()));
  std::memcpy(part.get(), bytes.data(), bytes.size());
  return part;
}

std::span<const std::byte> bytes_of(const Part& part, int64_t bytes) {
  return {part.get(), static_cast<size_t>(bytes)};
}

}  // namespace

uint64_t page_bytes(const model::KvLayout& layout) {
  return static_cast<uint64_t>(layout.full_bytes + layout.window_bytes);
}

uint64_t session_bytes(const model::KvLayout& layout, uint64_t pages, uint64_t window_pages) {
  const auto full = checked_mul(pages + 1, static_cast<uint64_t>(layout.full_bytes));
  const auto window = checked_mul(window_pages + 1, static_cast<uint64_t>(layout.window_bytes));
  return full && window ? checked_add(*full, *window).value_or(UINT64_MAX) : UINT64_MAX;
}

int64_t live_tokens(const model::Config& config) {
  return int64_t{config.sliding_window} + PassOptions().tokens_max + kRewindTokens +
         2 * kernels::kPageTokens;
}

bool expired(const model::Config& config, const model::Page& page, int32_t next_pos) {
  const int64_t begin = std::min<int64_t>(
      std::max<int64_t>(0, int64_t{next_pos} + 1 - config.sliding_window), next_pos - 1);
  return page.first_pos + page.count <= begin;
}

bool serves(const model::Config& config, const model::Page& page, int32_t next_pos) {
  // All types have window parts or none.
  if (page.window != nullptr || config.kv_layouts.front().window_bytes == 0) return true;
  return expired(config, page, next_pos);
}

bool is_whole(const model::KvLayout& layout, const model::Page& page) {
  return page.window != nullptr || layout.window_bytes == 0;
}

PageRecord page_record(const model::KvLayout& layout, const PageNode& node,
                       const model::Page& page) {
  PageRecord record;
  record.name = *node.name;
  record.parent = node.parent_name;
  record.first_pos = node.first_pos;
  record.label = node.label;
  record.tokens = node.tokens;
  if (page.full) record.full = bytes_of(page.full, layout.full_bytes);
  if (page.window) record.window = bytes_of(page.window, layout.window_bytes);
  return record;
}

std::shared_ptr<model::Page> page_from(const model::KvLayout& layout, StoredPage stored) {
  const PageRecord& record = stored.record;
  if (record.full.size() != static_cast<size_t>(layout.full_bytes) ||
      record.window.size() != static_cast<size_t>(layout.window_bytes))
    return nullptr;
  auto page = std::make_shared<model::Page>();
  page->count = static_cast<int32_t>(record.tokens.size());
  page->first_pos = record.first_pos;
  page->label = record.label;
  page->full = part_of(stored, record.full);
  page->window = part_of(stored, record.window);
  return page;
}

}  // namespace geist::engine
