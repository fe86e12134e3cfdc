// The two products of a linear layer's backward pass, split over a thread pool by blocks of the
// output. y = w x + bias, w [rows, cols], for `tokens` rows of x and dy.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/grad_kernels.h"
#include "kernels/matmul.h"

namespace geist::kernels {

// Any outer product, its output cut into blocks that threads take one by one.
void outer_product(const GradKernels& kernels, ThreadPool& pool, const OuterProduct& p);

struct LinearGradient {
  int64_t tokens, rows, cols;
  const float* dy;  // [tokens, rows], dy_stride floats apart
  int64_t dy_stride;
};

// dx[t][c] (+)= the chain over r ascending of dy[t][r] * w[r][c].
void input_gradient(const GradKernels& kernels, ThreadPool& pool, const LinearGradient& g,
                    const float* w, float* dx, int64_t dx_stride, bool accumulate);
// The same for weights of any type, widened exactly, some rows at a time, into `panel`.
void input_gradient(const GradKernels& kernels, ThreadPool& pool, const LinearGradient& g,
                    const Matrix& w, std::vector<float>& panel, float* dx, int64_t dx_stride,
                    bool accumulate);
// dw[r][c] += the chain over t ascending of dy[t][r] * x[t][c]: continues a chain that earlier
// tokens began, so that the gradient of a batch does not depend on how it was cut.
void weight_gradient(const GradKernels& kernels, ThreadPool& pool, const LinearGradient& g,
                     const float* x, int64_t x_stride, float* dw);
// dbias[r] += dy[t][r], t ascending.
void bias_gradient(const Kernels& kernels, ThreadPool& pool, const LinearGradient& g, float* dbias);

}  // namespace geist::kernels
