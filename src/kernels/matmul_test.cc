// matmul() is what a forward pass calls: the same bits for any number of threads, any split of the
// tokens, packed or not, alone or with other jobs.
#include "kernels/matmul.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>
#include <vector>

#include "base/rng.h"
#include "kernels/block.h"
#include "kernels/kernel_fill.h"
#include "kernels/panel.h"
#include "kernels/random_rows.h"

namespace geist::kernels {
namespace {

// Float products in this test go through a plain dot product: their own order is tested with them.
void naive_matmul_float(TensorType type, const std::byte* w, int64_t w_stride, int64_t rows,
                        int64_t cols, const float* x, int64_t x_stride, int64_t tokens, float* y,
                        int64_t y_stride) {
  std::vector<float> row(static_cast<size_t>(cols));
  for (int64_t r = 0; r < rows; ++r) {
    dequantize_row(type, w + r * w_stride, cols, row.data());
    for (int64_t t = 0; t < tokens; ++t) {
      float sum = 0;
      for (int64_t k = 0; k < cols; ++k) sum += row[static_cast<size_t>(k)] * x[t * x_stride + k];
      y[t * y_stride + r] = sum;
    }
  }
}

Kernels test_kernels() {
  Kernels kernels{};
  fill_panel_kernels_scalar(kernels);
  kernels.matmul_float = naive_matmul_float;
  return kernels;
}

struct TestMatrix {
  // Quantised, or F16.
  TestMatrix(TensorType type, int64_t rows, int64_t cols) {
    if (is_quantized(type)) {
      bytes = random_rows(type, rows, cols, static_cast<uint64_t>(rows), /*wild=*/false);
    } else {
      RandomStream rng(static_cast<uint64_t>(rows), "matmul_test");
      bytes.resize(static_cast<size_t>(rows * *row_bytes(type, cols)));
      for (size_t i = 0; i < bytes.size(); i += 2) {
        const uint16_t bits = f32_to_f16(static_cast<float>(rng.next_double() - 0.5));
        std::memcpy(&bytes[i], &bits, 2);
      }
    }
    matrix = {.type = type, .rows = rows, .cols = cols, .data = bytes.data()};
  }

  void pack(const Kernels& kernels, ThreadPool& pool) {
    panels.resize(static_cast<size_t>(packed_bytes(matrix) / 64 + 1));
    matrix.panels = panels[0].bytes;
    pack_matrix(kernels, pool, matrix, panels[0].bytes);
  }

  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<std::byte> bytes;
  std::vector<Line> panels;
  Matrix matrix;
};

struct Case {
  int threads = 1;
  bool packed = true;
  int64_t chunk = 1 << 20;  // tokens a call
};

class MatmulTest : public testing::Test {
 protected:
  static constexpr int64_t kCols = 256, kTokens = 37, kStride = kCols + 3;

  MatmulTest() : x_(static_cast<size_t>(kTokens * kStride)), bias_(300) {
    RandomStream rng(7, "matmul_test.x");
    for (float& v : x_) v = static_cast<float>(rng.next_double() - 0.5);
    for (float& v : bias_) v = static_cast<float>(rng.next_double() - 0.5);
  }

  // Three jobs of different types and sizes; their results in one row.
  std::vector<float> run(const Case& c) {
    const Kernels kernels = test_kernels();
    ThreadPool pool(c.threads);
    TestMatrix a(TensorType::kQ8_0, 300, kCols), b(TensorType::kF16, 33, kCols),
        d(TensorType::kQ4_0, 7, kCols);
    if (c.packed) {
      a.pack(kernels, pool);
      d.pack(kernels, pool);
    }
    constexpr int64_t kRow = 300 + 33 + 7;
    std::vector<float> y(static_cast<size_t>(kTokens * kRow));
    for (int64_t t = 0; t < kTokens; t += c.chunk) {
      float* out = y.data() + t * kRow;
      Activations x;
      x.set(x_.data() + t * kStride, std::min(c.chunk, kTokens - t), kCols, kStride);
      const MatmulJob jobs[] = {{&a.matrix, bias_.data(), out, kRow},
                                {&b.matrix, nullptr, out + 300, kRow},
                                {&d.matrix, bias_.data(), out + 333, kRow}};
      matmul(kernels, pool, x, jobs);
    }
    return y;
  }

  std::vector<float> x_, bias_;
};

TEST_F(MatmulTest, EqualsThePanelKernelPlusBias) {
  const std::vector<float> y = run({});
  const Kernels kernels = test_kernels();
  TestMatrix a(TensorType::kQ8_0, 300, kCols);
  std::vector<Q8Block> q8(kCols / 32);
  kernels.quantize_q8(x_.data() + 5 * kStride, kCols, q8.data());
  std::vector<std::byte> panel(static_cast<size_t>(panel_bytes(TensorType::kQ8_0, kCols)));
  const int64_t stride = *row_bytes(TensorType::kQ8_0, kCols);
  kernels.pack_panel(TensorType::kQ8_0, a.bytes.data() + 16 * stride, stride, 16, kCols,
                     panel.data());
  float want[16];
  kernels.matmul_panels(TensorType::kQ8_0, panel.data(), 16, kCols, q8.data(), 1, want, 16);
  for (size_t r = 0; r < 16; ++r) EXPECT_EQ(y[5 * 340 + 16 + r], want[r] + bias_[16 + r]);
}

TEST_F(MatmulTest, IsCloseToTheExactProduct) {
  const std::vector<float> y = run({});
  for (const auto& [type, rows, column] : {std::tuple{TensorType::kQ8_0, 300, 0},
                                           {TensorType::kF16, 33, 300},
                                           {TensorType::kQ4_0, 7, 333}}) {
    TestMatrix w(type, rows, kCols);
    std::vector<float> row(kCols);
    for (int r = 0; r < rows; ++r) {
      matrix_row(w.matrix, r, row.data());
      double sum = 0, error = 1e-4;
      for (size_t k = 0; k < kCols; ++k) {
        sum += static_cast<double>(row[k]) * x_[3 * kStride + k];
        error += std::abs(row[k]) * 0.5 / 254;  // half a step of an 8-bit code, |x| <= 0.5
      }
      if (type != TensorType::kF16) sum += bias_[static_cast<size_t>(r)];
      EXPECT_NEAR(y[static_cast<size_t>(3 * 340 + column + r)], sum, error);
    }
  }
}

TEST_F(MatmulTest, ThreadsChunksAndPackingDoNotChangeABit) {
  const std::vector<float> want = run({});
  for (const bool packed : {true, false}) {
    for (const int threads : {1, 2, 3, 7}) {
      for (const int64_t chunk : {int64_t{1} << 20, int64_t{16}, int64_t{1}}) {
        const std::vector<float> got = run({threads, packed, chunk});
        EXPECT_EQ(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)), 0)
            << threads << " threads, chunk " << chunk << ", packed " << packed;
      }
    }
  }
}

}  // namespace
}  // namespace geist::kernels
