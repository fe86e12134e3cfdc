// Packing goes row by row and block by block: the bits of the file's block are moved into the
// planes of its chunks, by arithmetic on the 8 bytes of a machine word. Each of the 16 rows writes
// 4 bytes into every cache line of a panel that stays in the first two levels of cache meanwhile.
// Traffic: the file once in, the panel once out.
//
// Where things are in a block: block_layout.h. The grid formats go through unpack_row.
#include "kernels/panel_pack.h"

#include <cstring>

#include "kernels/block_layout.h"
#include "kernels/panel.h"

namespace geist::kernels {
namespace {

uint64_t load64(const uint8_t* p) {
  uint64_t v;
  std::memcpy(&v, p, 8);
  return v;
}

void store32(uint8_t* p, uint32_t v) { std::memcpy(p, &v, 4); }

// One row's dwords of two neighbouring vectors of a plane.
void put_two(uint8_t* to, uint64_t v) {
  store32(to, static_cast<uint32_t>(v));
  store32(to + 64, static_cast<uint32_t>(v >> 32));
}

uint16_t load_f16_bits(const uint8_t* p) { return static_cast<uint16_t>(load_u16(p)); }

// ---- scales of one 256-block: d, dmin as f16 bits, a byte for each sub-block ----

struct SuperScales {
  uint16_t d = 0, dmin = 0;
  uint8_t sc[16] = {}, mn[16] = {};  // kNibbles: sc is the byte of both
};

void scales_q3_k(const uint8_t* block, SuperScales& s) {
  const uint8_t* packed = block + 96;
  for (int i = 0; i < 16; ++i) {
    const int low = i < 8 ? packed[i] & 15 : packed[i - 8] >> 4;
    const int high = (packed[8 + i % 4] >> (2 * (i / 4))) & 3;
    s.sc[i] = static_cast<uint8_t>((low | high << 4) - 32);
  }
  s.d = load_f16_bits(block + 108);
}

void scales_q45_k(const uint8_t* block, SuperScales& s) {
  const ScalesK4 unpacked = unpack_scales_k4(block + 4);
  std::memcpy(s.sc, unpacked.scale, 8);
  std::memcpy(s.mn, unpacked.offset, 8);
  s.d = load_f16_bits(block);
  s.dmin = load_f16_bits(block + 2);
}

void scales_iq4_xs(const uint8_t* block, SuperScales& s) {
  const uint32_t high = load_u16(block + 2);
  for (int i = 0; i < 8; ++i) {
    const int low = (block[4 + i / 2] >> (4 * (i % 2))) & 15;
    s.sc[i] = static_cast<uint8_t>((low | ((high >> (2 * i)) & 3) << 4) - 32);
  }
  s.d = load_f16_bits(block);
}

// count scales of 4 bits, low nibble first; each is 2s + 1 in units of d_factor.
void scales_of_nibbles(const uint8_t* block, int at, int count, SuperScales& s) {
  for (int i = 0; i < count; ++i)
    s.sc[i] = static_cast<uint8_t>(2 * ((block[at + i / 2] >> (4 * (i % 2))) & 15) + 1);
  s.d = load_f16_bits(block);
}

// The top 4 bits of the 8 words of `stride` bytes that begin at `at`.
void scales_of_top_bits(const uint8_t* block, int at, int stride, SuperScales& s) {
  for (int i = 0; i < 8; ++i)
    s.sc[i] = static_cast<uint8_t>(2 * (load_u32(block + at + i * stride) >> 28) + 1);
  s.d = load_f16_bits(block);
}

template <TensorType kType>
void super_scales(const uint8_t* block, SuperScales& s) {
  if constexpr (kType == TensorType::kQ2_K) {
    std::memcpy(s.sc, block, 16);
    s.d = load_f16_bits(block + 80);
    s.dmin = load_f16_bits(block + 82);
  } else if constexpr (kType == TensorType::kQ3_K) {
    scales_q3_k(block, s);
  } else if constexpr (kType == TensorType::kQ4_K || kType == TensorType::kQ5_K) {
    scales_q45_k(block, s);
  } else if constexpr (kType == TensorType::kQ6_K) {
    std::memcpy(s.sc, block + 192, 16);
    s.d = load_f16_bits(block + 208);
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

// ---- codes ----
//
// Below, `to` is where row r's dword of the first vector of a plane goes; vector j is 64 j bytes
// on.

// Two chunks from 32 bytes of nibbles, code l of the first in the low half of byte l, of the second
// in the high half.
void put_nibble_pair(const uint8_t* q, uint8_t* first, uint8_t* second) {
  constexpr uint64_t mask = 0x0f0f0f0f0f0f0f0f;
  for (int j = 0; j < 2; ++j) {
    const uint64_t a = load64(q + 8 * j), b = load64(q + 16 + 8 * j);  // groups 2j.., 4 + 2j..
    put_two(first + 128 * j, (a & mask) | (b & mask) << 4);
    put_two(second + 128 * j, ((a >> 4) & mask) | (b & ~mask));
  }
}

// One chunk from 16 bytes, codes l and 16 + l in byte l: the plane itself.
void put_nibbles(const uint8_t* q, uint8_t* to) {
  put_two(to, load64(q));
  put_two(to + 128, load64(q + 8));
}

// Bits at, at + 1 of 32 bytes.
void put_two_bits(const uint8_t* q, int at, uint8_t* to) {
  uint64_t v = 0;
  for (int field = 0; field < 4; ++field)
    v |= ((load64(q + 8 * field) >> at) & 0x0303030303030303u) << (2 * field);
  put_two(to, v);
}

// Bit `at` of 32 bytes.
void put_bit(const uint8_t* q, int at, uint8_t* to) {
  uint64_t v = 0;  // even groups in the low half, odd ones in the high half
  for (int i = 0; i < 4; ++i) v |= ((load64(q + 8 * i) >> at) & 0x0101010101010101u) << (2 * i);
  store32(to, static_cast<uint32_t>(v | v >> 31));
}

// Bit l of a word for code l.
void put_bits_of_word(uint32_t word, uint8_t* to) {
  uint32_t v = 0;
  for (int g = 0; g < 8; ++g)  // the product spreads 4 bits over 4 bytes
    v |= ((((word >> (4 * g)) & 15) * 0x00204081u) & 0x01010101u) << g;
  store32(to, v);
}

// 32 stored codes of 3 or 4 bits, a byte each.
template <const PanelFormat& f>
void put_indices(const uint8_t* codes, uint8_t* to) {
  if constexpr (f.low_bits == 4) {
    for (int j = 0; j < 2; ++j)
      put_two(to + 128 * j, load64(codes + 8 * j) | load64(codes + 16 + 8 * j) << 4);
  } else {
    static_assert(f.low_bits == 2 && f.high_bits == 1);
    put_two_bits(codes, 0, to);
    put_bit(codes, 2, to + f.low_bytes());
  }
}

// Canonical code (as a byte) -> stored code, for formats with a table.
struct InverseTable {
  uint8_t of[256] = {};
};

template <const PanelFormat& f>
consteval InverseTable make_inverse() {
  InverseTable table;
  for (int i = 0; i < 1 << (f.low_bits + f.high_bits); ++i)
    table.of[static_cast<uint8_t>(f.lut[i] - f.bias)] = static_cast<uint8_t>(i);
  return table;
}

// The formats whose codes are points of a grid.
template <TensorType kType>
void put_grid_codes(const uint8_t* block, int r, uint8_t* chunk) {
  constexpr const PanelFormat& f = kPanelFormat<kType>;
  static constexpr InverseTable inverse = make_inverse<f>();
  int8_t canonical[256];
  float scales[16];
  unpack_row(kType, reinterpret_cast<const std::byte*>(block), 256, canonical, scales, nullptr);
  uint8_t codes[256];
  for (int i = 0; i < 256; ++i) codes[i] = inverse.of[static_cast<uint8_t>(canonical[i])];
  for (int c = 0; c < kChunksPerSuper; ++c)
    put_indices<f>(codes + 32 * c, chunk + c * f.chunk_bytes() + 4 * r);
}

// Row r of a 32-block's chunk.
template <TensorType kType>
void put_block_codes(const uint8_t* block, int r, uint8_t* chunk) {
  constexpr const PanelFormat& f = kPanelFormat<kType>;
  uint8_t* to = chunk + 4 * r;
  if constexpr (kType == TensorType::kQ8_0) {
    for (int g = 0; g < 4; ++g)
      put_two(to + 128 * g, load64(block + 2 + 8 * g) ^ 0x8080808080808080u);
  } else if constexpr (f.high_bits == 1) {  // Q5_0, Q5_1
    const uint8_t* qh = block + (f.offset ? 4 : 2);
    put_nibbles(qh + 4, to);
    put_bits_of_word(load_u32(qh), to + f.low_bytes());
  } else {
    put_nibbles(block + (f.offset ? 4 : 2), to);
  }
}

// Row r of a 256-block's eight chunks.
template <TensorType kType>
void put_super_codes(const uint8_t* block, int r, uint8_t* chunk) {
  constexpr const PanelFormat& f = kPanelFormat<kType>;
  const auto low = [&](int c) { return chunk + c * f.chunk_bytes() + 4 * r; };
  const auto high = [&](int c) { return low(c) + f.low_bytes(); };
  if constexpr (kType == TensorType::kQ2_K || kType == TensorType::kQ3_K) {
    const uint8_t* q = block + (kType == TensorType::kQ2_K ? 16 : 32);
    for (int c = 0; c < 8; ++c) {
      put_two_bits(q + 32 * (c / 4), 2 * (c % 4), low(c));
      if (kType == TensorType::kQ3_K) put_bit(block, c, high(c));
    }
  } else if constexpr (kType == TensorType::kQ4_K || kType == TensorType::kQ5_K) {
    const uint8_t* q = block + (kType == TensorType::kQ4_K ? 16 : 48);
    for (int pair = 0; pair < 4; ++pair)
      put_nibble_pair(q + 32 * pair, low(2 * pair), low(2 * pair + 1));
    for (int c = 0; kType == TensorType::kQ5_K && c < 8; ++c) put_bit(block + 16, c, high(c));
  } else if constexpr (kType == TensorType::kQ6_K) {
    for (int c = 0; c < 8; c += 4) {
      for (int k = 0; k < 2; ++k)
        put_nibble_pair(block + 16 * c + 32 * k, low(c + k), low(c + k + 2));
      for (int k = 0; k < 4; ++k) put_two_bits(block + 128 + 8 * c, 2 * k, high(c + k));
    }
  } else if constexpr (kType == TensorType::kIQ4_XS) {
    for (int c = 0; c < 8; ++c) put_nibbles(block + 8 + 16 * c, low(c));
  } else {
    put_grid_codes<kType>(block, r, chunk);
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
  constexpr int kScalesAt = f.low_bytes() + f.high_bytes();
  const uint8_t* block = reinterpret_cast<const uint8_t*>(src);
  const int64_t block_bytes = tensor_type_info(kType).block_bytes;
  for (int64_t b = 0; b < cols / (f.super() ? 256 : 32); ++b, block += block_bytes) {
    if constexpr (f.super()) {
      SuperScales scales;
      super_scales<kType>(block, scales);
      std::memcpy(panel + 2 * r, &scales.d, 2);
      if (f.offset) std::memcpy(panel + 32 + 2 * r, &scales.dmin, 2);
      panel += f.header_bytes();
      put_super_codes<kType>(block, r, panel);
      for (int c = 0; c < kChunksPerSuper; ++c, panel += f.chunk_bytes())
        put_scales<kType>(scales, c, r, panel + kScalesAt);
    } else {
      put_block_codes<kType>(block, r, panel);
      std::memcpy(panel + kScalesAt + 2 * r, block, 2);
      if (f.offset) std::memcpy(panel + kScalesAt + 32 + 2 * r, block + 2, 2);
      panel += f.chunk_bytes();
    }
  }
}

// A strip of columns at a time, so that the strip of the panel stays in the first-level cache while
// its 16 rows are written.
template <TensorType kType>
void pack_rows(const std::byte* w, int64_t w_stride, int64_t rows, int64_t cols, uint8_t* panel) {
  constexpr int64_t kStrip = 1024;
  const int64_t src_step = *row_bytes(kType, kStrip), panel_step = panel_bytes(kType, kStrip);
  for (int64_t c = 0; c < cols; c += kStrip, w += src_step, panel += panel_step) {
    const int64_t count = cols - c < kStrip ? cols - c : kStrip;
    for (int64_t r = 0; r < rows; ++r)
      pack_row<kType>(w + r * w_stride, count, static_cast<int>(r), panel);
  }
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
