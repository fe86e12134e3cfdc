#include "kernels/grad_matmul.h"

#include <vector>

#include "kernels/block.h"
#include "kernels/kernel_test_support.h"

namespace geist::kernels {
namespace {

struct Case {
  int64_t rows, cols, depth;
};
constexpr Case kCases[] = {{1, 1, 1},    {2, 16, 3},    {12, 32, 192}, {13, 33, 193}, {7, 100, 5},
                           {50, 31, 64}, {25, 65, 400}, {385, 17, 9},  {5, 400, 21}};

// The stated order, one element at a time.
std::vector<float> reference(const OuterProduct& p, const std::vector<float>& c) {
  std::vector<float> out = c;
  for (int64_t m = 0; m < p.rows; ++m) {
    for (int64_t n = 0; n < p.cols; ++n) {
      float acc = p.accumulate ? c[static_cast<size_t>(m * p.c_stride + n)] : 0.0f;
      for (int64_t k = 0; k < p.depth; ++k)
        acc = __builtin_fmaf(p.a[m * p.a_row + k * p.a_depth], p.b[k * p.b_stride + n], acc);
      out[static_cast<size_t>(m * p.c_stride + n)] = acc;
    }
  }
  return out;
}

std::vector<const GradKernels*> all_tables() {
  std::vector<const GradKernels*> tables;
  for (const Isa isa : {Isa::kPortable, Isa::kScalar, Isa::kAvx2, Isa::kAvx512})
    if (const GradKernels* k = grad_kernels_for(isa)) tables.push_back(k);
  return tables;
}

TEST(OuterProduct, IsOneChainAnElementOnEveryInstructionSet) {
  for (const Case& shape : kCases) {
    const auto a = random_floats(shape.rows * shape.depth, "a");
    const auto b = random_floats((shape.cols + 3) * shape.depth, "b");
    const auto c = random_floats((shape.cols + 5) * shape.rows, "c");
    for (const bool by_row : {true, false}) {
      for (const bool accumulate : {true, false}) {
        OuterProduct p{.rows = shape.rows,
                       .cols = shape.cols,
                       .depth = shape.depth,
                       .a = a.data(),
                       .a_row = by_row ? shape.depth : 1,
                       .a_depth = by_row ? 1 : shape.rows,
                       .b = b.data(),
                       .b_stride = shape.cols + 3,
                       .c = nullptr,
                       .c_stride = shape.cols + 5,
                       .accumulate = accumulate};
        const std::vector<float> expected = reference(p, c);
        for (const GradKernels* k : all_tables()) {
          std::vector<float> out = c;
          p.c = out.data();
          k->outer_product(p);
          EXPECT_TRUE(same_bytes(out, expected))
              << shape.rows << " " << shape.cols << " " << shape.depth;
        }
      }
    }
  }
}

TEST(OuterProduct, ThreadsAndCutsInDepthChangeNothing) {
  const int64_t rows = 230, cols = 150, depth = 70, cut = 23;
  const auto dy = random_floats(depth * rows, "dy"), x = random_floats(depth * cols, "x");
  const auto w = random_floats(rows * cols, "w"), start = random_floats(rows * cols, "dw");
  const LinearGradient whole{depth, rows, cols, dy.data(), rows};
  std::vector<float> dw, dx;
  for (const GradKernels* k : all_tables()) {
    for (const int threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      std::vector<float> out = start, in(static_cast<size_t>(depth * cols));
      const LinearGradient first{cut, rows, cols, dy.data(), rows};
      const LinearGradient rest{depth - cut, rows, cols, dy.data() + cut * rows, rows};
      weight_gradient(*k, pool, first, x.data(), cols, out.data());
      weight_gradient(*k, pool, rest, x.data() + cut * cols, cols, out.data());
      input_gradient(*k, pool, whole, w.data(), in.data(), cols, false);
      if (dw.empty()) {
        dw = start;
        weight_gradient(*k, pool, whole, x.data(), cols, dw.data());
        dx = in;
      }
      EXPECT_TRUE(same_bytes(out, dw));
      EXPECT_TRUE(same_bytes(in, dx));
    }
  }
}

// Frozen weights: the bits of the widened matrix, whatever the panels.
TEST(OuterProduct, AMatrixOfAnyTypeIsItsWidenedSelf) {
  const int64_t rows = 600, cols = 256, tokens = 7;
  const auto dy = random_floats(tokens * rows, "dy"), given = random_floats(rows * cols, "w");
  const auto start = random_floats(tokens * cols, "dx");
  const LinearGradient g{tokens, rows, cols, dy.data(), rows};
  ThreadPool pool(2);
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16,
                                TensorType::kQ8_0, TensorType::kQ4_K, TensorType::kQ6_K}) {
    const int64_t bytes = *row_bytes(type, cols);
    std::vector<std::byte> data(static_cast<size_t>(rows * bytes));
    std::vector<float> widened(given.size()), panel;
    for (int64_t r = 0; r < rows; ++r) {
      quantize_row(type, given.data() + r * cols, cols, data.data() + r * bytes);
      dequantize_row(type, data.data() + r * bytes, cols, widened.data() + r * cols);
    }
    for (const GradKernels* k : all_tables()) {
      for (const bool accumulate : {false, true}) {
        std::vector<float> expected = start, out = start;
        input_gradient(*k, pool, g, widened.data(), expected.data(), cols, accumulate);
        input_gradient(*k, pool, g, Matrix{type, rows, cols, data.data()}, panel, out.data(), cols,
                       accumulate);
        EXPECT_TRUE(same_bytes(out, expected));
      }
    }
  }
}

TEST(OuterProduct, BiasGradientAddsTokensInOrder) {
  const int64_t tokens = 9, rows = 37;
  const auto dy = random_floats(tokens * rows, "dy");
  std::vector<float> expected = random_floats(rows, "bias"), out = expected;
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t r = 0; r < rows; ++r)
      expected[static_cast<size_t>(r)] += dy[static_cast<size_t>(t * rows + r)];
  ThreadPool pool(2);
  bias_gradient(*kernels_for(Isa::kScalar), pool, {tokens, rows, 0, dy.data(), rows}, out.data());
  EXPECT_TRUE(same_bytes(out, expected));
}

TEST(Transpose, SwapsRowsAndColumns) {
  const int64_t rows = 37, cols = 50;
  const auto in = random_floats(rows * cols, "in");
  for (const GradKernels* k : all_tables()) {
    std::vector<float> out(in.size());
    k->transpose(in.data(), cols, rows, cols, out.data(), rows);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c)
        ASSERT_EQ(out[static_cast<size_t>(c * rows + r)], in[static_cast<size_t>(r * cols + c)]);
  }
}

}  // namespace
}  // namespace geist::kernels
