// Context memory: pages of keys and values, and the sequences that share them.
//
// A page is a small header over two reference-counted buffers. `full` holds the layers that attend
// to everything, `window` those that attend within a sliding window; once every query to come is
// beyond the window, a sequence gives its reference to the latter up. A sequence that dropped it
// can go back only so far without computing tokens again: usable_length().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "model/config.h"

namespace geist::model {

// Labels are 0..63: a bit each of the set that a query may see (BatchToken::visible_labels).
inline constexpr uint32_t kLabelCount = 64;
// For each label the set of labels that its tokens may see.
using LabelVisibility = std::array<uint64_t, kLabelCount>;

// Keys and values of up to kernels::kPageTokens consecutive tokens of one sequence, all layers.
// Tokens of different labels never share a page. A page with count == kPageTokens is immutable.
struct Page {
  int32_t count = 0;
  int32_t first_pos = 0;
  uint32_t label = 0;
  // 64-byte aligned, KvLayout::full_bytes and window_bytes long. Null where the model has no such
  // layers; window also where the sequence dropped it. Slots from `count` on are zero, so the bytes
  // are a function of the page's tokens and those before them.
  std::shared_ptr<std::byte[]> full, window;
};

// One sequence's address space: its pages in order. forward() fills slots of pages that the caller
// has already reserved (Page.count covers the new tokens).
struct Sequence {
  std::vector<std::shared_ptr<Page>> pages;
  int32_t length = 0;  // tokens, the reserved ones included
  KvType kv_type = KvType::kF32;
  // The pages hold one layer's keys and values, each layer overwriting those of the one before: for
  // a sequence that is a single pass, whose pages nobody else reads.
  bool one_layer = false;
};

// Zeroed memory for a part of a page; null when bytes is 0.
std::shared_ptr<std::byte[]> allocate_part(int64_t bytes);

// Makes a page this holder's own, for writing: header and buffers that another sequence holds too,
// or that are read-only, are copied.
void make_own(const KvLayout& layout, std::shared_ptr<Page>& page);

// Reserves room for `count` tokens with this label at the end of the sequence: fills the open page,
// then adds pages (a new one too when the label differs). An open page that another sequence shares
// is copied first. Returns the position of the first.
int32_t reserve(const Config& config, Sequence& sequence, int32_t count, uint32_t label = 0);

// Drops the window parts that no query at position next_pos or later can see. The open page keeps
// its own.
void drop_expired(const Config& config, Sequence& sequence, int32_t next_pos);

// The largest n <= length such that tokens from position n on can be computed with the pages before
// it: `length` itself unless a window part that they would read was dropped.
int32_t usable_length(const Config& config, const Sequence& sequence, int32_t length);

// Goes back to the first `length` tokens, which must be usable. What was there is zeroed in the
// page that becomes the open one.
void truncate(const Config& config, Sequence& sequence, int32_t length);

// Bytes of the buffers that the sequence holds, shared ones included.
uint64_t kv_bytes(const Config& config, const Sequence& sequence);

// Bytes that a sequence of `tokens` tokens comes to hold, the window parts dropped as far as the
// window and `pass_tokens` computed at a time allow; UINT64_MAX when it is more than that.
uint64_t kv_bytes_planned(const Config& config, KvType type, int64_t tokens, int64_t pass_tokens);

}  // namespace geist::model
