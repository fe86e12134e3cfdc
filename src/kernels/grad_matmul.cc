#include "kernels/grad_matmul.h"

#include <algorithm>

namespace geist::kernels {
namespace {

// Blocks of the output that one thread computes from end to end: large, so that packing is a small
// share, and enough of them that a thread which another program slows down does not hold up the
// rest.
constexpr int64_t kRowsMax = 768, kColsMax = 384;
constexpr int64_t kGrain = 96;  // a multiple of every kernel's tile
constexpr int64_t kBlocksPerThread = 6;
constexpr int64_t kProductsWorthSplitting = 1 << 16;

int64_t parts(int64_t size, int64_t step) { return (size + step - 1) / step; }

}  // namespace

void outer_product(const GradKernels& kernels, ThreadPool& pool, const OuterProduct& p) {
  if (pool.size() == 1 || p.rows * p.cols * p.depth < kProductsWorthSplitting)
    return kernels.outer_product(p);
  int64_t row_step = std::min(kRowsMax, parts(p.rows, kGrain) * kGrain);
  int64_t col_step = std::min(kColsMax, parts(p.cols, kGrain) * kGrain);
  const int64_t wanted = kBlocksPerThread * pool.size();
  while (parts(p.rows, row_step) * parts(p.cols, col_step) < wanted &&
         std::max(row_step, col_step) > kGrain) {
    int64_t& larger = row_step >= col_step ? row_step : col_step;
    larger = parts(larger / 2, kGrain) * kGrain;
  }
  const int64_t row_parts = parts(p.rows, row_step), col_parts = parts(p.cols, col_step);
  pool.for_each(row_parts * col_parts, [&](int64_t i) {
    const int64_t m = i % row_parts * row_step, n = i / row_parts * col_step;
    OuterProduct block = p;
    block.rows = std::min(row_step, p.rows - m);
    block.cols = std::min(col_step, p.cols - n);
    block.a += m * p.a_row;
    block.b += n;
    block.c += m * p.c_stride + n;
    kernels.outer_product(block);
  });
}

void input_gradient(const GradKernels& kernels, ThreadPool& pool, const LinearGradient& g,
                    const float* w, float* dx, int64_t dx_stride, bool accumulate) {
  outer_product(kernels, pool,
                {.rows = g.tokens,
                 .cols = g.cols,
                 .depth = g.rows,
                 .a = g.dy,
                 .a_row = g.dy_stride,
                 .a_depth = 1,
                 .b = w,
                 .b_stride = g.cols,
                 .c = dx,
                 .c_stride = dx_stride,
                 .accumulate = accumulate});
}

// Each element of dx is one chain over the rows of w whether they come at once or in panels.
void input_gradient(const GradKernels& kernels, ThreadPool& pool, const LinearGradient& g,
                    const Matrix& w, std::vector<float>& panel, float* dx, int64_t dx_stride,
                    bool accumulate) {
  if (w.type == TensorType::kF32)
    return input_gradient(kernels, pool, g, reinterpret_cast<const float*>(w.data), dx, dx_stride,
                          accumulate);
  constexpr int64_t kPanelRows = 256;
  panel.resize(static_cast<size_t>(std::min(kPanelRows, w.rows) * w.cols));
  for (int64_t first = 0; first < w.rows; first += kPanelRows) {
    const int64_t rows = std::min(kPanelRows, w.rows - first);
    pool.for_ranges(rows, 8, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) matrix_row(w, first + r, panel.data() + r * w.cols);
    });
    input_gradient(kernels, pool, {g.tokens, rows, g.cols, g.dy + first, g.dy_stride}, panel.data(),
                   dx, dx_stride, accumulate || first > 0);
  }
}

void weight_gradient(const GradKernels& kernels, ThreadPool& pool, const LinearGradient& g,
                     const float* x, int64_t x_stride, float* dw) {
  outer_product(kernels, pool,
                {.rows = g.rows,
                 .cols = g.cols,
                 .depth = g.tokens,
                 .a = g.dy,
                 .a_row = 1,
                 .a_depth = g.dy_stride,
                 .b = x,
                 .b_stride = x_stride,
                 .c = dw,
                 .c_stride = g.cols,
                 .accumulate = true});
}

void bias_gradient(const Kernels& kernels, ThreadPool& pool, const LinearGradient& g,
                   float* dbias) {
  pool.for_ranges(g.rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < g.tokens; ++t)
      kernels.add(dbias + begin, g.dy + t * g.dy_stride + begin, end - begin, dbias + begin);
  });
}

}  // namespace geist::kernels
