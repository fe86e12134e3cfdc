// The gradient of a step, summed over leaves: fixed groups of rows. Within a leaf an element is one
// chain over its tokens (gradient.h); over leaves it is a tree that depends on their number alone:
//
//   tree(n) = tree(n / 2) + tree(n / 2) for even n,  tree(n - 1) + leaf for odd n > 1
//
// so ranks that share the leaves, a power of two of them that divides n, give the bits of one rank.
// With one leaf nothing is added: the bits are those of the chain.
//
// With several ranks a bucket of the last leaf's gradient goes on its way as soon as no operation
// is left that adds to it, while the backward pass goes on.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "base/thread_pool.h"
#include "train/ranks.h"
#include "train/trained_model.h"

namespace geist::train {

// How many sums a leaf completes, for each leaf of tree(count).
std::vector<int> tree_sums(int64_t count);

class StepGradient {
 public:
  // ranks may be null; leaves must be a multiple of their number.
  StepGradient(const kernels::Kernels& kernels, ThreadPool& pool, Ranks* ranks, int64_t leaves);
  ~StepGradient();
  StepGradient(const StepGradient&) = delete;
  StepGradient& operator=(const StepGradient&) = delete;

  // The leaves of this rank: leaves() of them from first_leaf() on.
  int64_t first_leaf() const { return first_; }
  int64_t leaves() const { return static_cast<int64_t>(sums_.size()); }

  // Takes the gradient of each leaf but the last, in order.
  Status add(const FloatBlock& leaf);
  // The last one stays where it is and becomes the step's gradient; with ranks, the own parts of
  // it. Between begin and end its elements from `offset` on may be said to be final.
  void begin_last(FloatBlock& leaf);
  void final_from(int64_t offset);
  void end_last();

 private:
  void sum_up(float* to, int64_t begin, int64_t end);
  void work();

  const kernels::Kernels& k_;
  ThreadPool& pool_;
  Ranks* ranks_;
  int64_t first_ = 0, done_ = 0;
  std::vector<int> sums_;
  std::vector<FloatBlock> stack_, unused_;

  FloatBlock* last_ = nullptr;
  std::thread worker_;
  std::mutex mutex_;
  std::condition_variable moved_;
  int64_t frontier_ = 0;  // elements from here on are final
};

}  // namespace geist::train
