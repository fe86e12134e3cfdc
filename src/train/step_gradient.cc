#include "train/step_gradient.h"

#include <cstring>

#include "base/check.h"

namespace geist::train {

std::vector<int> tree_sums(int64_t count) {
  if (count == 1) return {0};
  std::vector<int> sums = tree_sums(count % 2 == 0 ? count / 2 : count - 1);
  if (count % 2 != 0) {
    sums.push_back(1);
    return sums;
  }
  const std::vector<int> half = sums;
  sums.insert(sums.end(), half.begin(), half.end());
  ++sums.back();
  return sums;
}

StepGradient::StepGradient(const kernels::Kernels& kernels, ThreadPool& pool, Ranks* ranks,
                           int64_t leaves)
    : k_(kernels), pool_(pool), ranks_(ranks) {
  const int64_t count = ranks != nullptr ? ranks->count() : 1;
  GEIST_CHECK(leaves % count == 0);
  if (ranks != nullptr) first_ = leaves / count * ranks->rank();
  sums_ = tree_sums(leaves / count);
}

StepGradient::~StepGradient() {
  if (last_ != nullptr) end_last();
}

// to += the sums that this leaf completes, from the newest on.
void StepGradient::sum_up(float* to, int64_t begin, int64_t end) {
  const auto count = static_cast<size_t>(sums_[static_cast<size_t>(done_)]);
  for (size_t i = 0; i < count; ++i)
    k_.add(stack_[stack_.size() - 1 - i].data() + begin, to + begin, end - begin, to + begin);
}

Status StepGradient::add(const FloatBlock& leaf) {
  GEIST_CHECK(done_ + 1 < leaves());
  if (unused_.empty()) {
    GEIST_ASSIGN(FloatBlock block, FloatBlock::make(leaf.size()));
    unused_.push_back(block);
  }
  FloatBlock to = unused_.back();
  unused_.pop_back();
  pool_.for_ranges(leaf.size(), 4096, [&](int64_t begin, int64_t end) {
    std::memcpy(to.data() + begin, leaf.data() + begin,
                static_cast<size_t>(end - begin) * sizeof(float));
    sum_up(to.data(), begin, end);
  });
  for (int i = 0; i < sums_[static_cast<size_t>(done_)]; ++i) {
    unused_.push_back(stack_.back());
    stack_.pop_back();
  }
  stack_.push_back(to);
  ++done_;
  return {};
}

void StepGradient::begin_last(FloatBlock& leaf) {
  GEIST_CHECK(done_ + 1 == leaves() && last_ == nullptr);
  last_ = &leaf;
  frontier_ = leaf.size();
  if (ranks_ != nullptr) worker_ = std::thread([this] { work(); });
}

void StepGradient::final_from(int64_t offset) {
  {
    const std::lock_guard lock(mutex_);
    frontier_ = std::min(frontier_, offset);
  }
  moved_.notify_one();
}

void StepGradient::work() {
  const std::vector<Ranks::Part> buckets = ranks_->buckets(last_->size());
  for (size_t i = buckets.size(); i-- > 0;) {
    {
      std::unique_lock lock(mutex_);
      moved_.wait(lock, [&] { return frontier_ <= buckets[i].begin; });
    }
    sum_up(last_->data(), buckets[i].begin, buckets[i].end);
    ranks_->reduce(k_, last_->data(), buckets[i]);
  }
}

void StepGradient::end_last() {
  if (ranks_ != nullptr) {
    final_from(0);
    worker_.join();
  } else if (sums_.back() > 0) {
    pool_.for_ranges(last_->size(), 4096,
                     [&](int64_t begin, int64_t end) { sum_up(last_->data(), begin, end); });
  }
  last_ = nullptr;
  unused_.insert(unused_.end(), stack_.begin(), stack_.end());
  stack_.clear();
  done_ = 0;
}

}  // namespace geist::train
