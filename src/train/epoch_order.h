// The order of an epoch: drawn anew for each, a function of (seed, name, epoch), so that example i
// of a run is too.
#pragma once

#include <cstdint>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"

namespace geist::train {

class EpochOrder {
 public:
  // name: of the stream, "documents".
  EpochOrder(int64_t count, uint64_t seed, std::string name)
      : order_(static_cast<size_t>(count)), seed_(seed), name_(std::move(name)) {}

  int64_t count() const { return static_cast<int64_t>(order_.size()); }
  // The index of example `i` of the run; i counts through all epochs. count() > 0.
  int64_t at(int64_t i) {
    start(i / count());
    return order_[static_cast<size_t>(i % count())];
  }

 private:
  void start(int64_t epoch) {
    if (epoch == epoch_) return;
    epoch_ = epoch;
    std::iota(order_.begin(), order_.end(), int64_t{0});
    RandomStream random(seed_, name_ + " of epoch " + std::to_string(epoch));
    for (size_t i = order_.size(); i > 1; --i)
      std::swap(order_[i - 1], order_[random.next_below(i)]);
  }

  std::vector<int64_t> order_;
  uint64_t seed_;
  std::string name_;
  int64_t epoch_ = -1;
};

}  // namespace geist::train
