#include "model/page.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/check.h"
#include "base/checked.h"

namespace geist::model {
namespace {

constexpr int32_t kTokens = kernels::kPageTokens;

std::shared_ptr<std::byte[]> copy_part(const std::shared_ptr<std::byte[]>& part, int64_t bytes) {
  auto copy = allocate_part(bytes);
  std::memcpy(copy.get(), part.get(), static_cast<size_t>(bytes));
  return copy;
}

void make_part_own(std::shared_ptr<std::byte[]>& part, int64_t bytes) {
  if (part == nullptr) return;
  if (part.use_count() > 1) part = copy_part(part, bytes);
  // use_count() orders nothing. What a former holder read on another thread, copying this page for
  // itself, must come before what is written now: giving up a reference is an acquire (a fence
  // would do, but the thread sanitizer does not know fences).
  std::shared_ptr<std::byte[]>(part).reset();
}

void append_page(const KvLayout& layout, Sequence& sequence, uint32_t label) {
  auto page = std::make_shared<Page>();
  page->full = allocate_part(layout.full_bytes);
  page->window = allocate_part(layout.window_bytes);
  page->first_pos = sequence.length;
  page->label = label;
  sequence.pages.push_back(std::move(page));
}

// The first position that a query at `pos` sees in sliding-window layers.
int64_t window_begin(const Config& config, int32_t pos) {
  return std::max<int64_t>(0, int64_t{pos} + 1 - config.sliding_window);
}

}  // namespace

std::shared_ptr<std::byte[]> allocate_part(int64_t bytes) {
  if (bytes == 0) return nullptr;
  constexpr std::align_val_t kAlignment{kernels::kKvAlignment};
  auto* memory = static_cast<std::byte*>(::operator new(static_cast<size_t>(bytes), kAlignment));
  std::memset(memory, 0, static_cast<size_t>(bytes));
  return {memory, [](std::byte* p) { ::operator delete(p, kAlignment); }};
}

void make_own(const KvLayout& layout, std::shared_ptr<Page>& page) {
  if (page.use_count() > 1) page = std::make_shared<Page>(*page);
  std::shared_ptr<Page>(page).reset();  // as in make_part_own()
  make_part_own(page->full, layout.full_bytes);
  make_part_own(page->window, layout.window_bytes);
}

int32_t reserve(const Config& config, Sequence& sequence, int32_t count, uint32_t label) {
  GEIST_CHECK(count >= 0 && label < kLabelCount);
  const KvLayout& layout = config.kv_layout(sequence.kv_type);
  const int32_t first = sequence.length;
  while (count > 0) {
    const bool full = sequence.pages.empty() || sequence.pages.back()->count == kTokens;
    if (full || sequence.pages.back()->label != label) {
      append_page(layout, sequence, label);
    } else {
      make_own(layout, sequence.pages.back());
    }
    Page& open = *sequence.pages.back();
    const int32_t room = std::min(count, kTokens - open.count);
    open.count += room;
    sequence.length += room;
    count -= room;
  }
  return first;
}

void drop_expired(const Config& config, Sequence& sequence, int32_t next_pos) {
  if (!config.causal || config.kv_layout(sequence.kv_type).window_bytes == 0) return;
  const int64_t begin = window_begin(config, next_pos);
  auto& pages = sequence.pages;
  // What was dropped before is at the front: from the first page that may go, back to those.
  size_t end = 0;
  const auto expired = [&](const auto& page) { return page->first_pos + page->count <= begin; };
  if (!pages.empty())
    end = static_cast<size_t>(std::partition_point(pages.begin(), pages.end() - 1, expired) -
                              pages.begin());
  while (end > 0 && pages[end - 1]->window != nullptr) {
    // A header of its own: other sequences may hold the page.
    auto header = std::make_shared<Page>(*pages[--end]);
    header->window = nullptr;
    pages[end] = std::move(header);
  }
}

int32_t usable_length(const Config& config, const Sequence& sequence, int32_t length) {
  GEIST_CHECK(length >= 0 && length <= sequence.length);
  if (!config.causal || config.kv_layout(sequence.kv_type).window_bytes == 0) return length;
  for (auto page = sequence.pages.rbegin(); page != sequence.pages.rend(); ++page) {
    const Page& p = **page;
    if (p.first_pos >= length) continue;
    // The page of the last token may be written next, even when no query sees it (a window of 1).
    const int64_t begin = std::min<int64_t>(window_begin(config, length), length - 1);
    if (p.first_pos + p.count <= begin) break;
    if (p.window == nullptr) length = p.first_pos;
  }
  return length;
}

void truncate(const Config& config, Sequence& sequence, int32_t length) {
  GEIST_CHECK(usable_length(config, sequence, length) == length);
  const KvLayout& layout = config.kv_layout(sequence.kv_type);
  auto& pages = sequence.pages;
  while (!pages.empty() && pages.back()->first_pos >= length) pages.pop_back();
  sequence.length = length;
  if (pages.empty() || pages.back()->first_pos + pages.back()->count == length) return;
  make_own(layout, pages.back());
  Page& open = *pages.back();
  open.count = length - open.first_pos;
  for (const KvLayout::Layer& layer : layout.layers)
    kernels::kv_clear(layout.shape, (layer.window ? open.window : open.full).get() + layer.offset,
                      open.count);
}

uint64_t kv_bytes(const Config& config, const Sequence& sequence) {
  const KvLayout& layout = config.kv_layout(sequence.kv_type);
  uint64_t bytes = 0;
  for (const auto& page : sequence.pages)
    bytes += static_cast<uint64_t>((page->full != nullptr ? layout.full_bytes : 0) +
                                   (page->window != nullptr ? layout.window_bytes : 0));
  return bytes;
}

uint64_t kv_bytes_planned(const Config& config, KvType type, int64_t tokens, int64_t pass_tokens) {
  const KvLayout& layout = config.kv_layout(type);
  const auto pages_of = [](int64_t n) {
    return static_cast<uint64_t>((n + kTokens - 1) / kTokens);
  };
  int64_t live = tokens;  // tokens whose window parts exist at the same time
  if (config.causal && layout.window_bytes > 0)
    live = std::min(tokens, int64_t{config.sliding_window} + pass_tokens + 2 * kTokens);
  const auto full = checked_mul(pages_of(tokens), static_cast<uint64_t>(layout.full_bytes));
  const auto window = checked_mul(pages_of(live), static_cast<uint64_t>(layout.window_bytes));
  if (!full || !window) return UINT64_MAX;
  return checked_add(*full, *window).value_or(UINT64_MAX);
}

}  // namespace geist::model
