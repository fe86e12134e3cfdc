#include "kernels/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "base/rng.h"
#include "kernels/block.h"

namespace geist::kernels {
namespace {

// Nearly Gaussian, without libm, so that the values are the same everywhere: the sum of 12
// uniforms.
std::vector<float> gaussian(int64_t count) {
  RandomStream random(7, "gaussian");
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += random.next_double();
    value = static_cast<float>(sum);
  }
  return values;
}

std::vector<std::byte> quantize(TensorType type, const std::vector<float>& values) {
  const auto count = static_cast<int64_t>(values.size());
  std::vector<std::byte> row(static_cast<size_t>(*row_bytes(type, count)));
  quantize_row(type, values.data(), count, row.data());
  return row;
}

std::vector<float> round_trip(TensorType type, const std::vector<float>& values) {
  const auto row = quantize(type, values);
  std::vector<float> out(values.size());
  dequantize_row(type, row.data(), static_cast<int64_t>(values.size()), out.data());
  return out;
}

double relative_rms_error(const std::vector<float>& x, const std::vector<float>& y) {
  double error = 0, square = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double difference = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    error += difference * difference;
    square += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  return std::sqrt(error / square);
}

constexpr TensorType kEncoded[] = {TensorType::kF16,  TensorType::kBF16, TensorType::kQ8_0,
                                   TensorType::kQ4_0, TensorType::kQ5_0, TensorType::kQ5_1,
                                   TensorType::kQ4_K, TensorType::kQ5_K, TensorType::kQ6_K};
constexpr TensorType kEncodedBlocks[] = {TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ5_0,
                                         TensorType::kQ5_1, TensorType::kQ4_K, TensorType::kQ5_K,
                                         TensorType::kQ6_K};

// ggml: relative RMS error of its encoders (commit d99724f2b141, quantize_*, no importance matrix)
// on the same 2^18 values. sha256: of our bytes, which must not depend on the compiler or its
// options.
struct Quality {
  TensorType type;
  double ggml;
  const char* sha256;
};
constexpr Quality kQuality[] = {
    {TensorType::kQ4_0, 0.084464,
     "0d7c2549614852389dc3ad48aaa0e1039784e7d5b903659867c399a43c30f7e3"},
    {TensorType::kQ5_0, 0.042010,
     "d2619d66a179df3d7eef94204c7243ce21cec1e5dd2daaa1ef218adb3c01e321"},
    {TensorType::kQ5_1, 0.037426,
     "1c843b6a61c630f834676aedac7412974de3f69257579cda8d7c7a21d4b10992"},
    {TensorType::kQ8_0, 0.005268,
     "f6ff4fc095eef86b84c63bc1018357923ad3d222f97fb91f364c68dc9b41b4d4"},
    {TensorType::kQ4_K, 0.070501,
     "b0058ee02707d405b34786ca47d34d19dc18e720e2cd1001d0e52972b0d86a88"},
    {TensorType::kQ5_K, 0.035704,
     "0926716d1f998a07b864bd03a197d87861c87f70e3cd5a2f45fc73a1f6bf2853"},
    {TensorType::kQ6_K, 0.017483,
     "bc2963546f51bfcb70645237d0bd0c0a3b6623c64abb91fc2e84970acfb0358f"},
};

TEST(Quantize, ErrorIsNoLargerThanGgmls) {
  const auto values = gaussian(1 << 18);
  for (const Quality& quality : kQuality) {
    const double error = relative_rms_error(values, round_trip(quality.type, values));
    EXPECT_LE(error, 1.001 * quality.ggml) << tensor_type_info(quality.type).name;
    EXPECT_GE(error, 0.8 * quality.ggml) << "too good: is the test broken?";
  }
}

TEST(Quantize, BytesArePinned) {
  const auto values = gaussian(1 << 18);
  for (const Quality& quality : kQuality) {
    EXPECT_EQ(to_hex(sha256(quantize(quality.type, values))), quality.sha256)
        << tensor_type_info(quality.type).name;
  }
}

TEST(Quantize, Q8BytesAreGgmls) {
  EXPECT_EQ(to_hex(sha256(quantize(TensorType::kQ8_0, gaussian(1 << 18)))),
            "f6ff4fc095eef86b84c63bc1018357923ad3d222f97fb91f364c68dc9b41b4d4");
}

TEST(Quantize, RowsOfManyBlocksAreTheirBlocks) {
  const auto values = gaussian(1024);
  for (const TensorType type : kEncodedBlocks) {
    const auto row = quantize(type, values);
    const int64_t bytes = *row_bytes(type, 256);
    for (int64_t i = 0; i < 4; ++i) {
      const auto part = quantize(type, {values.begin() + i * 256, values.begin() + (i + 1) * 256});
      EXPECT_EQ(std::memcmp(part.data(), row.data() + i * bytes, part.size()), 0);
    }
  }
}

TEST(Quantize, ZerosAndConstants) {
  for (const TensorType type : kEncoded) {
    for (const float constant : {0.0f, 1.0f, -1.0f, 0.375f, -1000.0f}) {
      for (const float value : round_trip(type, std::vector<float>(256, constant))) {
        EXPECT_NEAR(value, constant, std::fabs(constant) * 0x1p-7f) << tensor_type_info(type).name;
      }
    }
  }
}

// What a format can hold exactly comes back exactly.
TEST(Quantize, CodesOfAPowerOfTwoScaleAreExact) {
  std::vector<float> values(256);
  for (size_t i = 0; i < 256; ++i) values[i] = static_cast<float>(static_cast<int>(i % 16) - 8) / 4;
  EXPECT_EQ(round_trip(TensorType::kQ4_0, values), values);
  for (size_t i = 0; i < 256; ++i)
    values[i] = static_cast<float>(static_cast<int>(i % 255) - 127) / 8;
  for (size_t i = 0; i < 256; i += 32) values[i] = 127.0f / 8;
  EXPECT_EQ(round_trip(TensorType::kQ8_0, values), values);
  EXPECT_EQ(round_trip(TensorType::kF16, values), values);
  EXPECT_EQ(round_trip(TensorType::kBF16, values), values);
}

TEST(Quantize, ValuesThatAreNotFiniteBecomeZero) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const TensorType type : kEncodedBlocks) {
    auto values = gaussian(256), zeroed = values;
    for (const auto& [at, value] : {std::pair{3, kInf}, {77, -kInf}, {200, std::nanf("")}}) {
      values[static_cast<size_t>(at)] = value;
      zeroed[static_cast<size_t>(at)] = 0;
    }
    EXPECT_EQ(quantize(type, values), quantize(type, zeroed)) << tensor_type_info(type).name;
  }
}

// Any bits at all encode without undefined behaviour, to finite values.
TEST(Quantize, ArbitraryBitsGiveFiniteValues) {
  RandomStream random(3, "bits");
  std::vector<float> values(256);
  for (int round = 0; round < 500; ++round) {
    // Scales from denormal to the largest: a random exponent for the block, some of it left free.
    const auto exponent = static_cast<uint32_t>(random.next_below(256)) << 23;
    for (float& value : values) {
      const auto bits = static_cast<uint32_t>(random.next_u64());
      const uint32_t mixed = round % 2 == 0 ? (bits & 0x807fffffu) | exponent : bits;
      std::memcpy(&value, &mixed, sizeof value);
    }
    for (const TensorType type : kEncodedBlocks) {
      for (const float value : round_trip(type, values)) {
        ASSERT_TRUE(std::isfinite(value)) << tensor_type_info(type).name << " round " << round;
      }
    }
  }
}

TEST(Quantize, OutliersDoNotSpoilOtherSubBlocks) {
  auto values = gaussian(256);
  values[100] = 50;
  for (const TensorType type : {TensorType::kQ4_K, TensorType::kQ5_K, TensorType::kQ6_K}) {
    const auto out = round_trip(type, values);
    EXPECT_NEAR(out[100], 50, 2) << tensor_type_info(type).name;
    EXPECT_LT(
        relative_rms_error({values.begin(), values.begin() + 96}, {out.begin(), out.begin() + 96}),
        0.35)
        << tensor_type_info(type).name;
  }
}

TEST(Quantize, WhichTypes) {
  EXPECT_TRUE(can_quantize(TensorType::kF32));
  for (const TensorType type : kEncoded) EXPECT_TRUE(can_quantize(type));
  for (const TensorType type :
       {TensorType::kQ2_K, TensorType::kIQ2_XXS, TensorType::kQ4_1, TensorType::kI32}) {
    EXPECT_FALSE(can_quantize(type)) << tensor_type_info(type).name;
  }
}

}  // namespace
}  // namespace geist::kernels
