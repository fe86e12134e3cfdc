// The product on panels against a naive implementation straight from unpack_row and
// docs/numerics.md: every format, every instruction set that this processor runs, odd sizes, equal
// to the bit.
#include "kernels/panel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <ostream>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kernels/block.h"
#include "kernels/kernel_fill.h"
#include "kernels/kernels.h"
#include "kernels/random_rows.h"

namespace geist::kernels {
namespace {

constexpr TensorType kPanelTypes[] = {
#define GEIST_ROW(name) TensorType::name,
    GEIST_FOR_EACH_PANEL_TYPE(GEIST_ROW)
#undef GEIST_ROW
};

std::vector<float> random_activations(int64_t count, uint64_t seed) {
  RandomStream rng(seed, "panel_test.activations");
  std::vector<float> x(static_cast<size_t>(count));
  for (float& v : x) v = static_cast<float>(rng.next_double() * 8 - 4);
  // A block whose codes are all at an end, and a block of zeros.
  for (size_t i = 0; i < std::min<size_t>(32, x.size()); ++i) x[i] = i % 5 == 4 ? -3.0f : 3.0f;
  for (size_t i = 64; i < std::min<size_t>(96, x.size()); ++i) x[i] = 0;
  return x;
}

std::vector<Q8Block> quantized(const std::vector<float>& x, int64_t tokens) {
  Kernels scalar{};
  fill_panel_kernels_scalar(scalar);
  const int64_t cols = static_cast<int64_t>(x.size()) / tokens;
  std::vector<Q8Block> blocks(static_cast<size_t>(q8_count(tokens, cols)));
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t b = 0; b < cols / 32; ++b)
      scalar.quantize_q8(x.data() + t * cols + b * 32, 32, blocks.data() + q8_index(tokens, t, b));
  return blocks;
}

// One output, in the words of docs/numerics.md.
class NaiveRow {
 public:
  NaiveRow(TensorType type, const std::byte* row, int64_t cols)
      : group_(group_size(type)),
        has_offset_(has_offset(type)),
        codes_(static_cast<size_t>(cols)),
        scales_(static_cast<size_t>(cols / group_)),
        offsets_(scales_.size()) {
    unpack_row(type, row, cols, codes_.data(), scales_.data(), offsets_.data());
  }

  float dot(const Q8Block* x, int64_t tokens, int64_t t) const {
    float acc = 0;
    for (size_t s = 0; s < scales_.size(); ++s) {
      const size_t first = s * static_cast<size_t>(group_);
      const Q8Block& block = x[q8_index(tokens, t, static_cast<int64_t>(first / 32))];
      int64_t isum = 0;
      for (size_t i = 0; i < static_cast<size_t>(group_); ++i)
        isum += codes_[first + i] * block.codes[(first + i) % 32];
      acc = std::fma(static_cast<float>(isum), scales_[s] * block.scale, acc);
      if (has_offset_)
        acc = std::fma(offsets_[s], block.sum[group_ == 32 ? 2 : first % 32 / 16], acc);
    }
    return acc;
  }

 private:
  int32_t group_;
  bool has_offset_;
  std::vector<int8_t> codes_;
  std::vector<float> scales_, offsets_;
};

struct Shape {
  int64_t rows, cols, tokens;
};

struct Problem {
  Problem(TensorType t, Shape s)
      : type(t),
        shape(s),
        weights(random_rows(t, s.rows, s.cols, static_cast<uint64_t>(s.rows * 1000 + s.cols))),
        x(quantized(random_activations(s.tokens * s.cols, static_cast<uint64_t>(s.tokens)),
                    s.tokens)) {}

  std::vector<float> naive() const {
    std::vector<float> y(static_cast<size_t>(shape.tokens * shape.rows));
    const int64_t stride = *row_bytes(type, shape.cols);
    for (int64_t r = 0; r < shape.rows; ++r) {
      const NaiveRow row(type, weights.data() + r * stride, shape.cols);
      for (int64_t t = 0; t < shape.tokens; ++t)
        y[static_cast<size_t>(t * shape.rows + r)] = row.dot(x.data(), shape.tokens, t);
    }
    return y;
  }

  std::vector<std::byte> packed(const Kernels& kernels) const {
    const int64_t stride = *row_bytes(type, shape.cols), bytes = panel_bytes(type, shape.cols);
    std::vector<std::byte> panels(static_cast<size_t>((shape.rows + 15) / 16 * bytes),
                                  std::byte{0xab});
    for (int64_t r = 0; r < shape.rows; r += 16)
      kernels.pack_panel(type, weights.data() + r * stride, stride,
                         std::min<int64_t>(16, shape.rows - r), shape.cols,
                         panels.data() + r / 16 * bytes);
    return panels;
  }

  // With a margin around every row of the result that must stay as it was.
  std::vector<float> product(const Kernels& kernels, const std::vector<std::byte>& panels) const {
    constexpr float kUntouched = 12345.0f;
    const int64_t stride = shape.rows + 5;
    std::vector<float> y(static_cast<size_t>(shape.tokens * stride), kUntouched);
    kernels.matmul_panels(type, panels.data(), shape.rows, shape.cols, x.data(), shape.tokens,
                          y.data(), stride);
    std::vector<float> out;
    for (int64_t t = 0; t < shape.tokens; ++t) {
      for (int64_t r = 0; r < stride; ++r) {
        const float v = y[static_cast<size_t>(t * stride + r)];
        if (r < shape.rows) {
          out.push_back(v);
        } else {
          EXPECT_EQ(v, kUntouched) << "wrote behind row " << shape.rows;
        }
      }
    }
    return out;
  }

  TensorType type;
  Shape shape;
  std::vector<std::byte> weights;
  std::vector<Q8Block> x;
};

void expect_same_bits(const std::vector<float>& got, const std::vector<float>& want,
                      const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  if (std::memcmp(got.data(), want.data(), got.size() * sizeof(float)) == 0) return;
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_EQ(std::memcmp(&got[i], &want[i], 4), 0)
        << what << " at " << i << ": " << got[i] << " for " << want[i];
}

class PanelTest : public testing::TestWithParam<TensorType> {
 protected:
  void check(Shape shape) {
    if (shape.cols % tensor_type_info(GetParam()).block_size != 0) return;
    const Problem problem(GetParam(), shape);
    const std::vector<float> want = problem.naive();
    std::vector<std::byte> first;
    for (const Kernels* k : all_kernels()) {
      const Kernels& kernels = *k;
      const std::string what = std::string(kernels.name) + ", " + std::to_string(shape.rows) +
                               " x " + std::to_string(shape.cols) + " x " +
                               std::to_string(shape.tokens);
      const std::vector<std::byte> panels = problem.packed(kernels);
      if (first.empty()) first = panels;
      EXPECT_TRUE(panels == first) << "panels differ: " << what;
      ASSERT_NO_FATAL_FAILURE(expect_same_bits(problem.product(kernels, panels), want, what));
    }
  }
};

TEST_P(PanelTest, EveryRowCount) {
  for (const int64_t rows : {1, 2, 15, 16, 17, 31, 32, 33, 48, 65, 150}) {
    check({rows, 256, 1});
    check({rows, 256, 5});
  }
}

TEST_P(PanelTest, EveryTokenCount) {
  for (int64_t tokens = 1; tokens <= 27; ++tokens) check({17, 256, tokens});
  check({33, 512, 100});
}

TEST_P(PanelTest, EveryWidth) {
  for (const int64_t cols : {32, 64, 96, 128, 224, 256, 288, 512, 1280, 2336}) {
    check({33, cols, 1});
    check({16, cols, 2});
    check({47, cols, 7});
    check({20, cols, 13});
  }
}

TEST_P(PanelTest, ManyTokensOfAWideMatrix) { check({18, 8192, 100}); }

std::string type_name(const testing::TestParamInfo<TensorType>& info) {
  return std::string(tensor_type_info(info.param).name);
}

INSTANTIATE_TEST_SUITE_P(Types, PanelTest, testing::ValuesIn(kPanelTypes), type_name);

TEST(PanelBytes, CommonFormatsTakeWhatTheyTakeInTheFile) {
  for (const TensorType type :
       {TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ5_0, TensorType::kQ5_1,
        TensorType::kQ8_0, TensorType::kQ2_K, TensorType::kQ6_K, TensorType::kIQ4_NL})
    EXPECT_EQ(panel_bytes(type, 4096), 16 * *row_bytes(type, 4096)) << tensor_type_info(type).name;
  EXPECT_EQ(panel_bytes(TensorType::kF16, 4096), 0);
}

}  // namespace
}  // namespace geist::kernels
