// Names of pages. A page's keys and values are a function of the weights, of the adapters, of how
// they are stored, and of all tokens up to its end with their labels, which decide where pages end
// and, with the visibility of labels, what was attended to: its name is the SHA-256 of exactly
// these. Pages of equal names hold equal bytes, whoever computed them and when, so a name is all
// that sharing, swapping and restoring need to know.
//
//   name(root)  = SHA-256("geist pages", version, weights, adapters, KV type, tokens a page,
//                         domain, visibility of labels if it is not of all)
//   name(page)  = SHA-256(name(page before it, or root), first position, label, count, tokens)
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "base/hash.h"
#include "text/tokenizer.h"

namespace geist::engine {

using PageName = Sha256Digest;

// To be raised when the bytes of a page change for the same tokens: another order of accumulation
// (docs/numerics.md) or another layout of pages. Pages that older programs stored are then not
// found.
inline constexpr uint32_t kPageBytesVersion = 1;

// What all pages of a tree have in common.
struct PageSpace {
  Sha256Digest weights{};   // engine/weights_digest.h; zero in a tree that never leaves memory
  Sha256Digest adapters{};  // zero: none
  uint32_t kv_type = 0;
  std::string domain{};                    // who trusts each other; domains never share a page
  std::span<const uint64_t> visibility{};  // model::LabelVisibility; empty: all labels see all
};

PageName root_name(const PageSpace& space);
PageName page_name(const PageName& parent, int32_t first_pos, uint32_t label,
                   std::span<const text::TokenId> tokens);

// Names are uniform already: their first bytes are a hash.
struct PageNameHash {
  size_t operator()(const PageName& name) const {
    size_t value;
    std::memcpy(&value, name.data(), sizeof value);
    return value;
  }
};

}  // namespace geist::engine
