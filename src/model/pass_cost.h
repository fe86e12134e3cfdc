// What a forward pass needs, counted from the model's shape: the bytes that must be read and the
// operations that must be done, however well it is done. With the machine's limits
// (kernels/machine_limits.h) this bounds its time from below: the roofline model (Williams,
// Waterman, Patterson 2009).
#pragma once

#include <cstdint>

#include "kernels/machine_limits.h"
#include "model/model.h"

namespace geist::model {

// `sequences` side by side, each with `depth` tokens in the cache already and `tokens` new ones, of
// which the last one's logits are wanted.
struct PassWork {
  int64_t tokens = 1, depth = 0, sequences = 1;
};

struct PassCost {
  // Weights as the file has them, each once; of experts those that the tokens are expected to
  // choose.
  double weight_bytes = 0;
  double kv_bytes = 0;   // keys and values that the new tokens may see, each once
  double int8_ops = 0;   // products with quantised weights; multiply-adds counted as two
  double float_ops = 0;  // products with float weights, and attention

  double bytes() const { return weight_bytes + kv_bytes; }
  // No run is faster: reading overlaps with computing, the two kinds of products share the
  // processor. 0 where a limit is not known.
  double seconds_at_least(const kernels::MachineLimits& limits) const;
};

PassCost pass_cost(const Model& model, const PassWork& work, KvType kv_type);

}  // namespace geist::model
