// Kernels that only training needs: the products of a backward pass, the derivatives of the row
// operations, and the optimiser's step. A table of its own beside kernels.h, built for the same
// instruction sets and chosen by the same Isa, with the same promise: one order of evaluation each
// (docs/training-numerics.md), the same bytes from every variant.
//
// All functions are pure: no allocation, no globals, safe to call from many threads on disjoint
// outputs. Pointers need no alignment.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"

namespace geist::kernels {

// c[m][n] (+)= sum over k of a(m, k) * b[k][n], where a(m, k) = a[m * a_row + k * a_depth] and one
// of the two strides is 1. An element is one chain: acc = fma(a(m, k), b[k][n], acc) for k
// ascending, from c's old value when accumulating and from +0 otherwise. So a sum may be cut
// anywhere in k and continued later: the bits stay.
struct OuterProduct {
  int64_t rows, cols, depth;  // m, n, k
  const float* a;
  int64_t a_row, a_depth;
  const float* b;
  int64_t b_stride;
  float* c;
  int64_t c_stride;
  bool accumulate;
};

// What a norm's forward pass computed of its row: needed by the weights' gradient.
struct NormStats {
  float mean;  // 0 for RMSNorm
  float r;     // 1 / sqrt(variance + eps)
};

// One step of AdamW (Loshchilov and Hutter, arXiv:1711.05101) in f32. Corrections are of the whole
// step: 1 / (1 - beta^step).
struct AdamStep {
  float learning_rate, beta1, beta2, eps, weight_decay;
  float correction1, correction2;
  float gradient_scale;  // clipping
};

struct GradKernels {
  Isa isa;

  void (*outer_product)(const OuterProduct& p);
  // out[c][r] = in[r][c]
  void (*transpose)(const float* in, int64_t in_stride, int64_t rows, int64_t cols, float* out,
                    int64_t out_stride);

  // dx += the gradient of the norm's input; stats are those of the row. weight may be null.
  NormStats (*rms_norm_backward)(const float* x, const float* weight, const float* dy, float eps,
                                 int64_t n, float* dx);
  NormStats (*layer_norm_backward)(const float* x, const float* weight, const float* dy, float eps,
                                   int64_t n, float* dx);
  // dweight[i] = fma(dy[i], (x[i] - mean) * r, dweight[i]); dbias[i] += dy[i]. dbias may be null.
  void (*norm_weight_backward)(const float* x, const float* dy, NormStats stats, int64_t n,
                               float* dweight, float* dbias);

  // Gradients of the activations of kernels.h. dgate, dup and dx may be dy.
  void (*silu_mul_backward)(const float* gate, const float* up, const float* dy, int64_t n,
                            float* dgate, float* dup);
  void (*gelu_mul_backward)(const float* gate, const float* up, const float* dy, int64_t n,
                            float* dgate, float* dup);
  void (*silu_backward)(const float* x, const float* dy, int64_t n, float* dx);
  void (*gelu_backward)(const float* x, const float* dy, int64_t n, float* dx);

  // out[i] = exp(x[i] - max); returns their sum and sets *max: the parts of a softmax. out may be
  // x.
  float (*exp_row)(const float* x, int64_t n, float* out, float* max);
  // out[i] = (p[i] * (dp[i] - dot)) * scale: the gradient of scaled scores. out may be dp.
  void (*softmax_backward)(const float* p, const float* dp, float dot, float scale, int64_t n,
                           float* out);

  // m, v and w are updated; g is read.
  void (*adam_step)(const AdamStep& step, const float* g, int64_t n, float* m, float* v, float* w);
};

// Null when this processor cannot run it.
const GradKernels* grad_kernels_for(Isa isa);

}  // namespace geist::kernels
