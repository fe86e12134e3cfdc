// The float matrix product: every instruction set, tile and stride gives the bytes of one dot
// product in the order that docs/numerics.md states.
#include <cmath>

#include "kernels/kernel_test_support.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {
namespace {

using Floats = std::vector<float>;

struct Shape {
  int64_t rows, cols, tokens;
};

// Rows of random weights of a type, `stride` bytes apart, not aligned to more than a byte.
struct Weights {
  std::vector<std::byte> bytes;
  int64_t stride;
  Floats widened;  // [rows][cols]
  const std::byte* data() const { return bytes.data() + 1; }
};

Weights make_weights(TensorType type, int64_t rows, int64_t cols) {
  const int64_t size = type == TensorType::kF32 ? 4 : 2;
  Weights w;
  w.stride = cols * size + 6;
  w.bytes.resize(static_cast<size_t>(1 + rows * w.stride));
  w.widened = random_floats(rows * cols, "w");
  RandomStream random(3, "halves");
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      float& value = w.widened[static_cast<size_t>(r * cols + c)];
      std::byte* to = w.bytes.data() + 1 + r * w.stride + c * size;
      if (type == TensorType::kF32) {
        std::memcpy(to, &value, 4);
        continue;
      }
      // Any finite pattern of bits, subnormals and zeros of both signs included.
      uint16_t bits = static_cast<uint16_t>(random.next_u64());
      if (type == TensorType::kF16 && (bits & 0x7c00u) == 0x7c00u) bits ^= 0x4000u;
      if (type == TensorType::kBF16) bits = static_cast<uint16_t>((bits & 0x87ffu) | 0x3800u);
      std::memcpy(to, &bits, 2);
      value = type == TensorType::kF16 ? widen_f16(bits) : widen_bf16(bits);
    }
  }
  return w;
}

TEST(MatmulFloat, EveryIsaAndTileGivesTheBytesOfOneDotProduct) {
  const Shape shapes[] = {{1, 1, 1},     {3, 7, 2},     {8, 16, 3},    {9, 17, 4},   {33, 100, 5},
                          {16, 512, 1},  {5, 513, 7},   {37, 1000, 1}, {65, 64, 50}, {7, 1031, 49},
                          {2, 2048, 97}, {40, 527, 96}, {17, 31, 13}};
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16}) {
    for (const Shape& s : shapes) {
      const Weights w = make_weights(type, s.rows, s.cols);
      const int64_t x_stride = s.cols + 3, y_stride = s.rows + 2;
      const Floats x = random_floats(s.tokens * x_stride, "x");
      Floats want(static_cast<size_t>(s.tokens * y_stride), 42.0f);
      for (int64_t t = 0; t < s.tokens; ++t) {
        for (int64_t r = 0; r < s.rows; ++r) {
          want[static_cast<size_t>(t * y_stride + r)] =
              kernels_for(Isa::kScalar)
                  ->dot(w.widened.data() + r * s.cols, x.data() + t * x_stride, s.cols);
        }
      }
      for (const Kernels* k : all_kernels()) {
        Floats got(want.size(), 42.0f);
        k->matmul_float(type, w.data(), w.stride, s.rows, s.cols, x.data(), x_stride, s.tokens,
                        got.data(), y_stride);
        EXPECT_TRUE(same_bytes(got, want)) << k->name << " type " << static_cast<int>(type) << " "
                                           << s.rows << "x" << s.cols << "x" << s.tokens;
      }
    }
  }
}

TEST(MatmulFloat, WidensHalvesExactly) {
  // Every half-precision number times 1 comes out as its value (computed here by ldexp).
  const float one = 1.0f;
  for (const Kernels* k : all_kernels()) {
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
      const int exponent = static_cast<int>(bits >> 10 & 31),
                mantissa = static_cast<int>(bits & 1023);
      if (exponent == 31) continue;
      float want = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                 : std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
      if ((bits & 0x8000u) != 0) want = -want;
      const uint16_t half = static_cast<uint16_t>(bits);
      float got = 0;
      k->matmul_float(TensorType::kF16, reinterpret_cast<const std::byte*>(&half), 2, 1, 1, &one, 1,
                      1, &got, 1);
      ASSERT_EQ(got, want) << k->name << " " << bits;
    }
  }
}

}  // namespace
}  // namespace geist::kernels
