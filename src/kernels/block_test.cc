#include "kernels/block.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/rng.h"

namespace geist::kernels {
namespace {

struct QuantizedFormat {
  TensorType type;
  std::vector<int> f16_offsets;  // where the f16 fields of a block are
  int code_min, code_max;
  // SHA-256 of the f32 values that ggml (commit d99724f2b141, ggml-quants.c, dequantize_row_*)
  // gives for the 64 blocks of finite_blocks(type).
  const char* ggml_sha256;
};

const std::vector<QuantizedFormat>& quantized_formats() {
  static const std::vector<QuantizedFormat> formats = {
      {TensorType::kQ4_0,
       {0},
       -8,
       7,
       "6c71da6e99732ee6328b71b3eb0f8f456cfbf39bebf8bd46e8c6b61993682310"},
      {TensorType::kQ4_1,
       {0, 2},
       0,
       15,
       "bc1e8fc1e512acca0700883e0f2106664b948c9730ed04e60b1a49389c724aa5"},
      {TensorType::kQ5_0,
       {0},
       -16,
       15,
       "0f20e76ebb4bcdf07fbc96418beae8ff63bae4b199e9e3e2bd3388a8eb28557b"},
      {TensorType::kQ5_1,
       {0, 2},
       0,
       31,
       "7acd57a83fc01de5263610c564d56a9941c0f587bcb0938b76154d62870d7a05"},
      {TensorType::kQ8_0,
       {0},
       -128,
       127,
       "7a675657d86a1078e6c59c5102a9c8d22b2dfce0fc273b5efc5b7f4484338f0e"},
      {TensorType::kQ2_K,
       {80, 82},
       0,
       3,
       "e99d41680866124bd48a0cd9a3f1a4a1ef03c5ddadb88efa4fe5e280418b9e18"},
      {TensorType::kQ3_K,
       {108},
       -4,
       3,
       "6b20b274190b10c6bb36323a804909a9b4e845267b992ce4371ffdb0e78fa88d"},
      {TensorType::kQ4_K,
       {0, 2},
       0,
       15,
       "d2cb814bd76e96137321a57a8260e3a2e0a463cab07da51f88cfdefc2644ddcb"},
      {TensorType::kQ5_K,
       {0, 2},
       0,
       31,
       "f2e2b886ae3ee6523c13c6234e1f62bde064b7fc3e84281e3f9d51e064a529cf"},
      {TensorType::kQ6_K,
       {208},
       -32,
       31,
       "bb8ecd295b5cf2f1d922b5a9de41aea07f3c0dfb392e0485189c302c8f26d718"},
      {TensorType::kIQ2_XXS,
       {0},
       -43,
       43,
       "02f260fcdbda53921b65f34d6431b534de80572676fa99ee9cb885830e7914a7"},
      {TensorType::kIQ2_XS,
       {0},
       -43,
       43,
       "4dab3e33a7c57285d79af8acb87ee6e33dfed2b6a005041b03528a5b114dfdc9"},
      {TensorType::kIQ2_S,
       {0},
       -43,
       43,
       "7874cfb09244fa601172f8f73174dbf4eeef810ab700c32cf3f2960d016865d6"},
      {TensorType::kIQ3_XXS,
       {0},
       -62,
       62,
       "0fec44316480b25e2779274a3e42f7b81ac126f38afc52a414231165f125b7f2"},
      {TensorType::kIQ3_S,
       {0},
       -15,
       15,
       "931e16737d2a008eca0591ae860537be2208fadd05debbf974ecf6e014196215"},
      {TensorType::kIQ4_NL,
       {0},
       -127,
       113,
       "d5de3f0263ce4de1bb171be721183ec4dad56b1b95589644c08b12c047503ed3"},
      {TensorType::kIQ4_XS,
       {0},
       -127,
       113,
       "e7b8dff5a2a12e3a9059ffef177a5a40ccbd20e1d6df4185c654129033857034"},
  };
  return formats;
}

std::vector<std::byte> random_bytes(std::string_view stream, size_t size) {
  RandomStream random(1, stream);
  std::vector<std::byte> bytes(size);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random.next_u64());
  return bytes;
}

constexpr int kBlocks = 64;

// Random blocks whose f16 fields have magnitudes below 2, the top bit of their exponents cleared.
std::vector<std::byte> finite_blocks(const QuantizedFormat& format) {
  const TensorTypeInfo& info = tensor_type_info(format.type);
  auto bytes = random_bytes(info.name, static_cast<size_t>(kBlocks * info.block_bytes));
  for (int b = 0; b < kBlocks; ++b) {
    for (const int offset : format.f16_offsets) {
      bytes[static_cast<size_t>(b * info.block_bytes + offset + 1)] &= std::byte{0xbf};
    }
  }
  return bytes;
}

// Every format, every table and every bit of the layouts, equal to the bit with ggml.
TEST(Block, DequantisesAsGgml) {
  for (const QuantizedFormat& format : quantized_formats()) {
    const TensorTypeInfo& info = tensor_type_info(format.type);
    const auto blocks = finite_blocks(format);
    std::vector<float> values(static_cast<size_t>(kBlocks * info.block_size));
    dequantize_row(format.type, blocks.data(), kBlocks * info.block_size, values.data());
    EXPECT_EQ(to_hex(sha256(std::as_bytes(std::span(values)))), format.ggml_sha256) << info.name;
  }
}

struct Unpacked {
  std::vector<int8_t> codes;
  std::vector<float> scales, offsets;
};

Unpacked unpack(TensorType type, const std::byte* src, int64_t cols) {
  const auto groups = static_cast<size_t>(cols / group_size(type));
  Unpacked out{std::vector<int8_t>(static_cast<size_t>(cols)), std::vector<float>(groups),
               std::vector<float>(has_offset(type) ? groups : 0)};
  unpack_row(type, src, cols, out.codes.data(), out.scales.data(),
             has_offset(type) ? out.offsets.data() : nullptr);
  return out;
}

// All bytes are legal, at any address; the canonical form means what dequantize_row() gives.
TEST(Block, AnyBytesUnpackToCodesInRange) {
  for (const QuantizedFormat& format : quantized_formats()) {
    const TensorTypeInfo& info = tensor_type_info(format.type);
    const int64_t cols = 500 * info.block_size;
    const auto bytes = random_bytes(info.name, static_cast<size_t>(500 * info.block_bytes + 1));
    const std::byte* unaligned = bytes.data() + 1;
    const Unpacked row = unpack(format.type, unaligned, cols);
    std::vector<float> values(static_cast<size_t>(cols));
    dequantize_row(format.type, unaligned, cols, values.data());
    int seen_min = 127, seen_max = -128;
    for (size_t i = 0; i < row.codes.size(); ++i) {
      const size_t group = i / static_cast<size_t>(group_size(format.type));
      float expected = row.scales[group] * static_cast<float>(row.codes[i]);
      if (has_offset(format.type)) expected += row.offsets[group];
      ASSERT_TRUE(std::memcmp(&expected, &values[i], 4) == 0 ||
                  (std::isnan(expected) && std::isnan(values[i])))
          << info.name << " at " << i;
      seen_min = std::min<int>(seen_min, row.codes[i]);
      seen_max = std::max<int>(seen_max, row.codes[i]);
    }
    EXPECT_EQ(seen_min, format.code_min) << info.name;
    EXPECT_EQ(seen_max, format.code_max) << info.name;
  }
}

TEST(Block, AllZeroAndAllOneBytes) {
  for (const QuantizedFormat& format : quantized_formats()) {
    const TensorTypeInfo& info = tensor_type_info(format.type);
    for (const int fill : {0x00, 0xff}) {
      const std::vector<std::byte> block(static_cast<size_t>(info.block_bytes),
                                         static_cast<std::byte>(fill));
      std::vector<float> values(static_cast<size_t>(info.block_size));
      dequantize_row(format.type, block.data(), info.block_size, values.data());
      for (const float value : values) {
        if (fill == 0) {
          EXPECT_EQ(value, 0.0f) << info.name;
        } else {
          EXPECT_TRUE(std::isnan(value)) << info.name;  // the scale is a NaN
        }
      }
    }
  }
}

TEST(Block, FloatTypesWiden) {
  const uint16_t f16[3] = {0x3c00, 0xc000, 0x0001}, bf16[3] = {0x3f80, 0xc000, 0x0001};
  const float f32[3] = {1, -0.0f, 3.5f};
  float out[3];
  dequantize_row(TensorType::kF16, std::as_bytes(std::span(f16)).data(), 3, out);
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], -2.0f);
  EXPECT_EQ(out[2], 0x1p-24f);
  dequantize_row(TensorType::kBF16, std::as_bytes(std::span(bf16)).data(), 3, out);
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], -2.0f);
  EXPECT_EQ(out[2], 0x1p-133f);
  dequantize_row(TensorType::kF32, std::as_bytes(std::span(f32)).data(), 3, out);
  EXPECT_EQ(std::memcmp(out, f32, sizeof f32), 0);
}

TEST(BlockDeathTest, RejectsPartOfABlock) {
  const std::byte bytes[256] = {};
  float out[256];
  EXPECT_DEATH(dequantize_row(TensorType::kQ4_0, bytes, 31, out), "block_size");
  EXPECT_DEATH(group_size(TensorType::kF32), "not a quantised type");
}

}  // namespace
}  // namespace geist::kernels
