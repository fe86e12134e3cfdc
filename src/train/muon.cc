#include "train/muon.h"

#include <algorithm>
#include <cmath>

#include "kernels/grad_matmul.h"

namespace geist::train {
namespace {

constexpr int kIterations = 5;
constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;

}  // namespace

void block_squares(const kernels::Kernels& kernels, ThreadPool& pool, const float* x, int64_t n,
                   double* sums) {
  pool.for_ranges((n + kNormBlock - 1) / kNormBlock, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* part = x + i * kNormBlock;
      sums[i] = double{kernels.dot(part, part, std::min(kNormBlock, n - i * kNormBlock))};
    }
  });
}

double sum_of_squares(const kernels::Kernels& kernels, ThreadPool& pool, const float* x,
                      int64_t n) {
  std::vector<double> sums(static_cast<size_t>((n + kNormBlock - 1) / kNormBlock));
  block_squares(kernels, pool, x, n, sums.data());
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

Orthogonalizer::Orthogonalizer(const kernels::Kernels& kernels, ThreadPool& pool)
    : k_(kernels), g_(*kernels::grad_kernels_for(kernels.isa)), pool_(pool) {}

void Orthogonalizer::run(float* x, int64_t rows, int64_t cols) {
  const double norm = std::sqrt(sum_of_squares(k_, pool_, x, rows * cols));
  const auto factor = static_cast<float>(1.0 / (norm + 1e-7));
  for_elements(rows * cols,
               [&](int64_t begin, int64_t n) { k_.scale(x + begin, factor, n, x + begin); });
  if (rows <= cols) return iterate(x, rows, cols);
  turned_.resize(static_cast<size_t>(rows * cols));
  transpose(x, rows, cols, turned_.data());
  iterate(turned_.data(), cols, rows);
  transpose(turned_.data(), cols, rows, x);
}

template <typename F>
void Orthogonalizer::for_elements(int64_t count, const F& f) {
  pool_.for_ranges(count, kNormBlock, [&](int64_t begin, int64_t end) { f(begin, end - begin); });
}

void Orthogonalizer::transpose(const float* x, int64_t rows, int64_t cols, float* out) {
  constexpr int64_t kRows = 16;  // of a tile
  pool_.for_ranges(rows, kRows, [&](int64_t begin, int64_t end) {
    g_.transpose(x + begin * cols, cols, end - begin, cols, out + begin, rows);
  });
}

// x = a x + (b G + c G G) x, G = x x^T.
void Orthogonalizer::iterate(float* x, int64_t rows, int64_t cols) {
  transposed_.resize(static_cast<size_t>(rows * cols));
  next_.resize(transposed_.size());
  gram_.resize(static_cast<size_t>(rows * rows));
  polynomial_.resize(gram_.size());
  for (int i = 0; i < kIterations; ++i) {
    transpose(x, rows, cols, transposed_.data());
    kernels::outer_product(
        g_, pool_,
        {rows, rows, cols, x, cols, 1, transposed_.data(), rows, gram_.data(), rows, false});
    kernels::outer_product(g_, pool_,
                           {rows, rows, rows, gram_.data(), rows, 1, gram_.data(), rows,
                            polynomial_.data(), rows, false});
    for_elements(rows * rows, [&](int64_t at, int64_t n) {
      k_.scale(polynomial_.data() + at, kC, n, polynomial_.data() + at);
      k_.add_scaled(polynomial_.data() + at, gram_.data() + at, kB, n, polynomial_.data() + at);
    });
    kernels::outer_product(
        g_, pool_,
        {rows, cols, rows, polynomial_.data(), rows, 1, x, cols, next_.data(), cols, false});
    for_elements(rows * cols, [&](int64_t at, int64_t n) {
      k_.add_scaled(next_.data() + at, x + at, kA, n, x + at);
    });
  }
}

}  // namespace geist::train
