// Matrix products for a forward pass: a weight matrix in whatever form it is at hand (mapped from
// the file, or packed into panels), activations quantised once for all matrices that read them,
// work split over a thread pool by rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/kernels.h"

namespace geist::kernels {

// A weight matrix [rows, cols], row-major, as in the file. `panels`, when set, holds the same
// weights packed (pack_matrix); a quantised matrix without panels is packed tile by tile as it is
// used, which gives the same bits, slower: for files larger than memory.
struct Matrix {
  TensorType type = TensorType::kF32;
  int64_t rows = 0, cols = 0;
  const std::byte* data = nullptr;
  const std::byte* panels = nullptr;
};

// Bytes of the packed form of the whole matrix; 0 for float types, which need none.
int64_t packed_bytes(const Matrix& w);
// Where rows [row, row + rows) of a matrix lie in the file's layout: anywhere, or copied into
// `buffer`, which has room for them. Called from several threads.
using RowSource = std::function<const std::byte*(int64_t row, int64_t rows, std::byte* buffer)>;
// Packs into dst (packed_bytes(w) bytes, 64-byte aligned), in parallel. Without a source the rows
// are those at w.data.
void pack_matrix(const Kernels& kernels, ThreadPool& pool, const Matrix& w, std::byte* dst,
                 const RowSource& source = {});

// f32 rows [tokens, cols] and, made on demand, their 8-bit form. Reused between calls to avoid
// allocation.
class Activations {
 public:
  // Refers to x (not copied): tokens rows of cols floats, stride floats apart.
  void set(const float* x, int64_t tokens, int64_t cols, int64_t stride);
  // Quantises once; later calls return at once until set() is called again.
  const Q8Block* quantized(const Kernels& kernels, ThreadPool& pool);

  const float* data() const { return x_; }
  int64_t tokens() const { return tokens_; }
  int64_t cols() const { return cols_; }
  int64_t stride() const { return stride_; }

 private:
  const float* x_ = nullptr;
  int64_t tokens_ = 0, cols_ = 0, stride_ = 0;
  bool quantized_ = false;
  std::vector<Q8Block> blocks_;
};

struct MatmulJob {
  const Matrix* w;
  const float* bias;  // [rows] or null; added to the finished dot product
  float* y;           // y[t * y_stride + r]
  int64_t y_stride;
};

// All jobs read the same x and run in one parallel region.
void matmul(const Kernels& kernels, ThreadPool& pool, Activations& x,
            std::span<const MatmulJob> jobs);

// One row of w as f32 (embedding look-up): dequantised exactly.
void matrix_row(const Matrix& w, int64_t row, float* out);

}  // namespace geist::kernels
