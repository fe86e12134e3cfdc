#include "model/workspace.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace geist::model {
namespace {

constexpr int64_t kAlignFloats = 16;

}  // namespace

void Workspace::Free::operator()(float* p) const { std::free(p); }

Workspace::Block Workspace::allocate(int64_t n) {
  const auto bytes = static_cast<size_t>(n) * sizeof(float);
  void* p = std::aligned_alloc(kAlignFloats * sizeof(float), bytes);
  if (p == nullptr) throw std::bad_alloc();
  return Block(static_cast<float*>(p));
}

void Workspace::begin() {
  used_ = 0;
  if (overflow_.empty()) return;
  overflow_.clear();
  overflow_used_ = 0;
  block_.reset();
  capacity_ = peak_ + peak_ / 8 / kAlignFloats * kAlignFloats;
  block_ = allocate(capacity_);
}

float* Workspace::take(int64_t n) {
  n = (std::max<int64_t>(n, 1) + kAlignFloats - 1) / kAlignFloats * kAlignFloats;
  const int64_t at = used_;
  used_ += n;
  peak_ = std::max(peak_, used_);
  if (used_ <= capacity_) return block_.get() + at;
  if (overflow_used_ == overflow_.size() || overflow_[overflow_used_].size < n) {
    overflow_.resize(overflow_used_);
    overflow_.push_back({at, n, allocate(n)});
  }
  Overflow& next = overflow_[overflow_used_++];
  next.at = at;
  return next.block.get();
}

void Workspace::release(int64_t mark) {
  used_ = mark;
  while (overflow_used_ > 0 && overflow_[overflow_used_ - 1].at >= mark) --overflow_used_;
}

WorkspacePtr Model::make_workspace() { return WorkspacePtr(new Workspace); }
void WorkspaceDeleter::operator()(Workspace* workspace) const { delete workspace; }

}  // namespace geist::model
