// The processes (ranks) that train one model together, and what they do with blocks of floats.
//
// A block of gradients is summed over ranks by recursive halving: ranks whose numbers differ in bit
// 0 add halves, then those that differ in bit 1, so every element is the same tree of additions,
// ((g0 + g1) + (g2 + g3)), whoever computes it. Afterwards each rank owns a part of the block: it
// holds the sum there, keeps the optimiser's state for it alone (ZeRO-1: Rajbhandari et al.,
// arXiv:1910.02054), and gives the new weights to the others by the same way back.
//
// A block is cut into buckets, so that a reduction can begin where the gradient is final already;
// parts begin at multiples of 4096 elements, the blocks of the gradient's norm.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/kernels.h"
#include "train/rank_transport.h"

namespace geist::train {

class Ranks {
 public:
  struct Part {
    int64_t begin, end;
    int64_t size() const { return end - begin; }
  };

  // part_floats: of a bucket, for each rank; a multiple of 4096. 2 MB is a huge page.
  explicit Ranks(const RankTransport& transport, int64_t part_floats = int64_t{1} << 19)
      : transport_(transport), part_floats_(part_floats) {}
  // When mpirun, srun or the like has started this process as one of several: joins the others.
  // Null otherwise.
  static Result<std::unique_ptr<Ranks>> join();

  // An error unless they are a power of two.
  Status check() const;

  int rank() const { return transport_.rank; }
  int count() const { return transport_.count; }
  bool is_first() const { return rank() == 0; }

  std::vector<Part> buckets(int64_t size) const;
  Part own_part(Part bucket) const;
  // Calls f(begin, end) for the own part of every bucket.
  template <typename F>
  void for_own(int64_t size, F&& f) const {
    for (const Part& bucket : buckets(size)) {
      const Part own = own_part(bucket);
      if (own.size() > 0) f(own.begin, own.end);
    }
  }

  // All ranks call these with the same arguments, in the same order.
  // Sums a bucket: afterwards the own part holds the sum, and nothing is said of the rest.
  void reduce(const kernels::Kernels& kernels, float* values, Part bucket);
  // Every rank gets every part.
  void gather(std::span<float> values);
  // The first rank gets every part.
  void collect(std::span<float> values);
  // Every rank gets the sums, by the same tree.
  void add(std::span<double> values);

  void leave() { transport_.leave(transport_.context); }
  void abort(int code) { transport_.abort(transport_.context, code); }

 private:
  Part half(Part part, int bit, bool mine) const;
  void exchange(int peer, std::span<const float> send, std::span<float> receive);

  RankTransport transport_;
  int64_t part_floats_;
  std::vector<float> received_;
};

}  // namespace geist::train
