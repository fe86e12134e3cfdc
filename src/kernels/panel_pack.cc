// Packing goes row by row and block by block: the block's codes as unsigned stored codes in column
// order, then dword g of each chunk of 32 is spread over the planes. All of it is arithmetic on the
// 4 or 8 codes of a machine word, and each of the 16 rows writes 4 bytes into every cache line of a
// chunk that stays in the first-level cache. Traffic: the file once in, the panel once out.
//
// Formats in the file are those of ggml; block_layout.h has them. Common formats are decoded here
// straight to stored codes, the others through unpack_row.
#include "kernels/panel_pack.h"

#include <cstring>

#include "kernels/block_layout.h"
#include "kernels/panel.h"

namespace geist::kernels {
namespace {

uint32_t load32(const uint8_t* p) {
  uint32_t v;
  std::memcpy(&v, p, 4);
  return v;
}

void store32(uint8_t* p, uint32_t v) { std::memcpy(p, &v, 4); }

constexpr int block_cols(const PanelFormat& format) { return format.super() ? 256 : 32; }

// ---- stored codes of one block, in column order ----

// Canonical code (as a byte) -> stored code, for formats with a table.
struct InverseTable {
  uint8_t of[256] = {};
};

consteval InverseTable make_inverse(const PanelFormat& f) {
  InverseTable table;
  for (int i = 0; f.has_lut && i < 1 << (f.low_bits + f.high_bits); ++i)
    table.of[static_cast<uint8_t>(f.lut[i] - f.bias)] = static_cast<uint8_t>(i);
  return table;
}

template <TensorType kType>
constexpr InverseTable kInverse = make_inverse(kPanelFormat<kType>);

template <TensorType kType>
void block_codes(const std::byte* block, uint8_t* codes) {
  constexpr const PanelFormat& f = kPanelFormat<kType>;
  constexpr int n = block_cols(f);
  int8_t canonical[n];
  float scales[n / 16], offsets[n / 16];
  unpack_row(kType, block, n, canonical, scales, offsets);
  for (int i = 0; i < n; ++i) {
    codes[i] = f.has_lut ? kInverse<kType>.of[static_cast<uint8_t>(canonical[i])]
                         : static_cast<uint8_t>(canonical[i] + f.bias);
  }
}

// ---- scales of one 256-block: d, dmin as f16 bits, a byte for each sub-block ----

struct SuperScales {
  uint16_t d = 0, dmin = 0;
  uint8_t sc[16] = {}, mn[16] = {};  // kNibbles: sc is the byte of both
};

uint16_t load16(const uint8_t* p) {
  uint16_t v;
  std::memcpy(&v, p, 2);
  return v;
}

void scales_q3_k(const uint8_t* block, SuperScales& s) {
  const uint8_t* packed = block + 96;
  for (int i = 0; i < 16; ++i) {
    const int low = i < 8 ? packed[i] & 15 : packed[i - 8] >> 4;
    const int high = (packed[8 + i % 4] >> (2 * (i / 4))) & 3;
    s.sc[i] = static_cast<uint8_t>((low | high << 4) - 32);
  }
  s.d = load16(block + 108);
}

void scales_q45_k(const uint8_t* block, SuperScales& s) {
  const ScalesK4 unpacked = unpack_scales_k4(block + 4);
  std::memcpy(s.sc, unpacked.scale, 8);
  std::memcpy(s.mn, unpacked.offset, 8);
  s.d = load16(block);
  s.dmin = load16(block + 2);
}

void scales_iq4_xs(const uint8_t* block, SuperScales& s) {
  const int high = load16(block + 2);
  for (int i = 0; i < 8; ++i) {
    const int low = (block[4 + i / 2] >> (4 * (i % 2))) & 15;
    s.sc[i] = static_cast<uint8_t>((low | ((high >> (2 * i)) & 3) << 4) - 32);
  }
  s.d = load16(block);
}

// count scales of 4 bits, low nibble first; each is 2s + 1 in units of d_factor.
void scales_of_nibbles(const uint8_t* block, int at, int count, SuperScales& s) {
  for (int i = 0; i < count; ++i)
    s.sc[i] = static_cast<uint8_t>(2 * ((block[at + i / 2] >> (4 * (i % 2))) & 15) + 1);
  s.d = load16(block);
}

// The top 4 bits of the 8 words of `stride` bytes that begin at `at`.
void scales_of_top_bits(const uint8_t* block, int at, int stride, SuperScales& s) {
  for (int i = 0; i < 8; ++i)
    s.sc[i] = static_cast<uint8_t>(2 * (load32(block + at + i * stride) >> 28) + 1);
  s.d = load16(block);
}

template <TensorType kType>
void super_scales(const uint8_t* block, SuperScales& s) {
  if constexpr (kType == TensorType::kQ2_K) {
    std::memcpy(s.sc, block, 16);
    s.d = load16(block + 80);
    s.dmin = load16(block + 82);
  } else if constexpr (kType == TensorType::kQ3_K) {
    scales_q3_k(block, s);
  } else if constexpr (kType == TensorType::kQ4_K || kType == TensorType::kQ5_K) {
    scales_q45_k(block, s);
  } else if constexpr (kType == TensorType::kQ6_K) {
    std::memcpy(s.sc, block + 192, 16);
    s.d = load16(block + 208);
  } else if constexpr (kType == TensorType::kIQ4_XS) {
    scales_iq4_xs(block, s);
  } else if constexpr (kType == TensorType::kIQ2_XXS) {
    scales_of_top_bits(block, 2 + 4, 8, s);
  } else if constexpr (kType == TensorType::kIQ2_XS) {
    scales_of_nibbles(block, 66, 16, s);
  } else if constexpr (kType == TensorType::kIQ2_S) {
    scales_of_nibbles(block, 74, 16, s);
  } else if constexpr (kType == TensorType::kIQ3_XXS) {
    scales_of_top_bits(block, 2 + 64, 4, s);
  } else {
    static_assert(kType == TensorType::kIQ3_S);
    scales_of_nibbles(block, 106, 8, s);
  }
}

// ---- planes ----

// Row r's 32 stored codes into a chunk's planes.
template <TensorType kType>
void put_codes(const uint8_t* codes, int r, uint8_t* chunk) {
  constexpr const PanelFormat& f = kPanelFormat<kType>;
  uint32_t q[8];
  for (int g = 0; g < 8; ++g) q[g] = load32(codes + 4 * g);
  uint8_t* low = chunk + 4 * r;
  if constexpr (f.low_bits == 8) {
    for (int g = 0; g < 8; ++g) store32(low + 64 * g, q[g]);
  } else if constexpr (f.low_bits == 4) {
    constexpr uint32_t mask = 0x0f0f0f0f;
    for (int j = 0; j < 4; ++j) store32(low + 64 * j, (q[j] & mask) | (q[j + 4] & mask) << 4);
  }
  const auto two_bits = [&q](int i, int shift) {
    uint32_t v = 0;
    for (int field = 0; field < 4; ++field)
      v |= ((q[i + 2 * field] >> shift) & 0x03030303u) << (2 * field);
    return v;
  };
  if constexpr (f.low_bits == 2)
    for (int i = 0; i < 2; ++i) store32(low + 64 * i, two_bits(i, 0));
  uint8_t* high = low + 64 * f.low_bits;
  if constexpr (f.high_bits == 2)
    for (int i = 0; i < 2; ++i) store32(high + 64 * i, two_bits(i, f.low_bits));
  if constexpr (f.high_bits == 1) {
    uint32_t v = 0;
    for (int g = 0; g < 8; ++g) v |= ((q[g] >> f.low_bits) & 0x01010101u) << g;
    store32(high, v);
  }
}

template <TensorType kType>
void put_scales(const SuperScales& s, int c, int r, uint8_t* to) {
  constexpr const PanelFormat& f = kPanelFormat<kType>;
  constexpr int groups = 32 / f.group;
  constexpr bool pair = f.offset && f.scales == PanelScales::kBytes;
  for (int h = 0; h < groups; ++h) {
    uint8_t* at = to + h * (pair ? 32 : 16) + r;
    *at = s.sc[c * groups + h];
    if (pair) at[16] = s.mn[c * groups + h];
  }
}

template <TensorType kType>
void pack_row(const std::byte* src, int64_t cols, int r, uint8_t* panel) {
  constexpr const PanelFormat& f = kPanelFormat<kType>;
  constexpr int n = block_cols(f);
  constexpr int scales_at = f.low_bytes() + f.high_bytes();
  const int64_t block_bytes = tensor_type_info(kType).block_bytes;
  uint8_t codes[n];
  for (int64_t b = 0; b < cols / n; ++b, src += block_bytes) {
    const uint8_t* block = reinterpret_cast<const uint8_t*>(src);
    block_codes<kType>(src, codes);
    if constexpr (f.super()) {
      SuperScales scales;
      super_scales<kType>(block, scales);
      std::memcpy(panel + 2 * r, &scales.d, 2);
      if (f.offset) std::memcpy(panel + 32 + 2 * r, &scales.dmin, 2);
      panel += f.header_bytes();
      for (int c = 0; c < kChunksPerSuper; ++c, panel += f.chunk_bytes()) {
        put_codes<kType>(codes + 32 * c, r, panel);
        put_scales<kType>(scales, c, r, panel + scales_at);
      }
    } else {
      put_codes<kType>(codes, r, panel);
      std::memcpy(panel + scales_at + 2 * r, block, 2);
      if (f.offset) std::memcpy(panel + scales_at + 32 + 2 * r, block + 2, 2);
      panel += f.chunk_bytes();
    }
  }
}

template <TensorType kType>
void pack_rows(const std::byte* w, int64_t w_stride, int64_t rows, int64_t cols, uint8_t* panel) {
  for (int64_t r = 0; r < rows; ++r)
    pack_row<kType>(w + r * w_stride, cols, static_cast<int>(r), panel);
}

}  // namespace

void pack_panel(TensorType type, const std::byte* w, int64_t w_stride, int64_t rows, int64_t cols,
                std::byte* panel) {
  uint8_t* out = reinterpret_cast<uint8_t*>(panel);
  if (rows < kPanelRows) std::memset(out, 0, static_cast<size_t>(panel_bytes(type, cols)));
  switch (type) {
#define GEIST_CASE(name) \
  case TensorType::name: \
    return pack_rows<TensorType::name>(w, w_stride, rows, cols, out);
    GEIST_FOR_EACH_PANEL_TYPE(GEIST_CASE)
#undef GEIST_CASE
    default:
      return;
  }
}

}  // namespace geist::kernels
