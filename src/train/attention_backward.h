// The backward pass of attention over rows of queries, keys and values, in tiles (Dao et al.,
// arXiv:2205.14135): probabilities are computed again from the queries and keys, 32 queries at a
// time, so memory grows with the length of a sequence and not with its square.
//
// A task is one (sequence, kv head): it owns the gradients of its keys and values, and threads
// split tasks. Order: heads of the group ascending, tiles of 32 queries ascending, in a tile the
// queries ascending; a tile of queries i .. i + 31 meets the keys 0 .. i + 31 in full, a masked key
// with a probability of +0. docs/training-numerics.md states each sum.
#pragma once

#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "kernels/grad_kernels.h"

namespace geist::train {

struct AttentionDims {
  int64_t heads, kv_heads, key_dim, value_dim;
  float scale;
  int64_t window;  // 0: none
};

// Consecutive rows of the batch that are one sequence, from its position 0 on.
struct SequenceRows {
  int64_t first, count;
};

// qkv: rows [q heads][k heads][v heads], rotated. out, dout: [heads][value_dim]. dqkv, of the
// layout of qkv, is overwritten.
struct AttentionRows {
  const float* qkv;
  int64_t qkv_stride;
  const float *out, *dout;
  int64_t out_stride, dout_stride;
  float* dqkv;  // rows of qkv_stride floats
};

void attention_backward(const kernels::Kernels& kernels, const kernels::GradKernels& grad,
                        ThreadPool& pool, const AttentionDims& dims, const AttentionRows& rows,
                        std::span<const SequenceRows> sequences);

}  // namespace geist::train
