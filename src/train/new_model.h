// A model that knows nothing yet: metadata for a shape, and weights drawn from named streams.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "gguf/gguf.h"

namespace geist::train {

struct ModelShape {
  std::string architecture = "llama";  // or "gpt2"
  int64_t layers = 4, width = 256, heads = 4;
  int64_t kv_heads = 0;      // 0: as many as heads
  int64_t feed_forward = 0;  // 0: 4 * width, or for llama 8/3 of it rounded up to 32
  int64_t context = 256;
  bool tied = true;  // the head is the embedding table
  double norm_eps = 1e-5, rope_base = 10000.0;
  double deviation = 0.02;  // of the initial weights; projections into the residual stream have it
                            // divided by sqrt(2 * layers), as GPT-2 does
};

// The shape with its zeros filled in, and how many weights it has: without drawing them.
struct SizedShape {
  ModelShape shape;
  int64_t parameters = 0;
};
Result<SizedShape> size_shape(const ModelShape& shape, int64_t vocab);

// `tokenizer` is metadata with tokenizer.ggml.*; its vocabulary sets the table's size. Each
// tensor's weights are a function of (seed, its name, shape).
Result<gguf::File> new_model(const ModelShape& shape, const gguf::Metadata& tokenizer,
                             uint64_t seed);

}  // namespace geist::train
