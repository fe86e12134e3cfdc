// Attention over pages of keys and values.
//
// A page holds up to kPageTokens tokens of one sequence, in order, for one layer: kv_page.h.
//
// Softmax is taken page by page in order (online softmax), so a page is also the unit of
// accumulation: the same pages give the same bits, whoever computed, shared or restored them. A
// masked key contributes nothing, exactly as if it were absent; a page that a query may not see at
// all is skipped and its bytes are never read. Order of every sum: docs/numerics.md.
#pragma once

#include <cstdint>

#include "kernels/kv_page.h"

namespace geist::kernels {

struct AttentionPage {
  const std::byte* data;  // of the layer; may be null when no query sees the page
  int32_t count;          // tokens in use, 1..kPageTokens
  int32_t first_pos;      // position of the first token; positions are consecutive within a page
  uint32_t label;         // index of the page's label, 0..63
  KvType type = KvType::kF32;
};

struct AttentionQuery {
  const float* q;  // [heads][key_dim], this token's queries, already rotated
  float* out;      // [heads][value_dim]
  const AttentionPage* pages;
  int32_t page_count;
  int32_t pos_begin, pos_end;  // sees positions pos_begin <= p < pos_end
  int32_t pos;                 // its own position (for ALiBi)
  uint64_t visible_labels;     // bit l set: may see pages with label l
};

struct AttentionShape {
  int32_t heads,
      kv_heads;  // heads is a multiple of kv_heads; head h reads kv head h / (heads / kv_heads)
  int32_t key_dim, value_dim;  // any positive numbers; fastest when multiples of 16
  float scale;                 // on q . k, before the cap
  float softcap;               // 0: none
  const float* alibi_slopes;   // [heads] or null: adds slope * (p - pos)
  const float* sinks;          // [heads] or null: a logit that joins the denominator only
};

}  // namespace geist::kernels
