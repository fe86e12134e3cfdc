// Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"): momentum,
// then the nearest orthogonal matrix by five steps of a quintic Newton-Schulz iteration.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/grad_kernels.h"

namespace geist::train {

class Orthogonalizer {
 public:
  Orthogonalizer(const kernels::Kernels& kernels, ThreadPool& pool);
  // x, [rows, cols], becomes U V^T of its singular value decomposition, nearly.
  void run(float* x, int64_t rows, int64_t cols);

 private:
  void iterate(float* x, int64_t rows, int64_t cols);  // rows <= cols
  // f(begin, count) of parts of [0, count), on all threads.
  template <typename F>
  void for_elements(int64_t count, const F& f);
  void transpose(const float* x, int64_t rows, int64_t cols, float* out);

  const kernels::Kernels& k_;
  const kernels::GradKernels& g_;
  ThreadPool& pool_;
  std::vector<float> turned_, transposed_, gram_, polynomial_, next_;
};

// The sums of squares of blocks of 4096 floats, each in 16 lanes of f32.
inline constexpr int64_t kNormBlock = 4096;
void block_squares(const kernels::Kernels& kernels, ThreadPool& pool, const float* x, int64_t n,
                   double* sums);
// And their sum, in ascending order.
double sum_of_squares(const kernels::Kernels& kernels, ThreadPool& pool, const float* x, int64_t n);

}  // namespace geist::train
