// A page in the tree that all timelines form together: it knows the page before it, so a session is
// one pointer to its last page, and sessions that begin alike share their first nodes. Internal to
// engine.
//
// Who may write what: tokens, name and the keys and values of a node are written only by the
// session that owns it, while it is neither shared nor named; `page` and what follows it belong to
// the Memory's mutex once there is a Memory, except during a pass, which holds its nodes (in_use).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "engine/page_name.h"
#include "model/model.h"

namespace geist::engine {

// Bytes counted in a total for as long as this lives.
class Charge {
 public:
  Charge() = default;
  Charge(std::shared_ptr<std::atomic<uint64_t>> total, uint64_t bytes)
      : total_(std::move(total)), bytes_(bytes) {
    total_->fetch_add(bytes_);
  }
  Charge(Charge&& other) noexcept
      : total_(std::move(other.total_)), bytes_(std::exchange(other.bytes_, 0)) {}
  Charge& operator=(Charge&& other) noexcept {
    std::swap(total_, other.total_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Charge() {
    if (total_) total_->fetch_sub(bytes_);
  }
  uint64_t bytes() const { return bytes_; }
  // A part of it, at most what there is.
  Charge split(uint64_t bytes) {
    Charge part;
    part.total_ = total_;
    part.bytes_ = std::min(bytes, bytes_);
    bytes_ -= part.bytes_;
    return part;
  }

 private:
  std::shared_ptr<std::atomic<uint64_t>> total_;
  uint64_t bytes_ = 0;
};

struct PageNode {
  PageNode(std::shared_ptr<PageNode> before, int32_t position, uint32_t page_label)
      : parent(std::move(before)),
        index(parent ? parent->index + 1 : 0),
        first_pos(position),
        label(page_label) {}
  PageNode(const PageNode&) = delete;
  PageNode& operator=(const PageNode&) = delete;
  // A long timeline is a long chain: it is taken apart in a loop, for the stack's sake.
  ~PageNode() {
    std::shared_ptr<PageNode> next = std::move(parent);
    while (next && next.use_count() == 1) next = std::shared_ptr<PageNode>(std::move(next->parent));
  }

  int32_t end() const { return first_pos + static_cast<int32_t>(tokens.size()); }
  bool full() const { return tokens.size() == static_cast<size_t>(kernels::kPageTokens); }
  // Whether a token of this label goes into this page (a page that a label closed goes on when the
  // timeline is cut back to its end).
  bool takes(uint32_t next_label) const { return !full() && label == next_label; }
  bool frozen() const { return name.has_value() || shared.load(); }

  // Who shares a page shares those before it, but fork() marks the last one only: whoever leaves a
  // page for the one before it, or for a copy of its own, passes the mark on.
  void mark_parent() const {
    if (parent && shared.load()) parent->shared.store(true);
  }

  std::shared_ptr<PageNode> parent;
  int32_t index, first_pos;
  uint32_t label;
  std::vector<text::TokenId> tokens;
  std::optional<PageName> name;     // of a complete page in a Memory
  PageName parent_name{};           // of the page before it, or the tree's root, with `name`
  std::atomic<bool> shared{false};  // forks hold it: to be copied before writing

  std::shared_ptr<model::Page> page;  // null: not in memory
  Charge charge;
  int32_t in_use = 0;   // passes that hold it
  int32_t pins = 0;     // engine::Pin
  double value = 0;     // the least is evicted first: see eviction.cc
  bool listed = false;  // in the Memory's list of open pages
};

using PageNodePtr = std::shared_ptr<PageNode>;

}  // namespace geist::engine
