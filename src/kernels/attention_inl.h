// Attention of many queries over pages of keys and values (attention.h), over the lanes of S.
// Included only by attention_*.cc and scalar_fma.cc.
//
// A row is one (query, head) pair; all heads that share the kv head, of all consecutive queries
// that share a page list, make the rows of a tile of up to kTileRows. Page by page:
//   scores   keys in lanes: K[d][key] is loaded once for a block of rows, times q[row][d]
//   broadcast; softmax  a row at a time, 32 keys in two vectors; the running maximum and 16 sums
//   stay in the tile; values   elements of o in lanes: V[key][d] once for a block of rows, times
//   e[row][key] broadcast;
//            o accumulates in the caller's output, in registers across the keys of a page.
// A page of (key_dim + value_dim) * 32 elements is read from memory once a tile and widened to f32,
// exactly, in registers. Order of accumulation:
// docs/numerics.md; it is that of one row alone, so blocking changes no bit.
//
// Keys that a row may not see: a page that no row of the tile sees is not read. Within a page the
// visible keys of a row are one range, since positions are consecutive and the label is the page's;
// scores of keys outside it are computed (lanes do not mix) and dropped by selection, never by
// arithmetic, and their values are not read.
#pragma once

#include "kernels/kernels.h"
#include "kernels/kv_read_inl.h"
#include "kernels/simd_math.h"

namespace geist::kernels {

template <class S>
struct Attention {
  using F = typename S::F;
  using Reg = typename S::Reg;
  using T = typename Reg::T;

  static constexpr int kTileRows = 64;
  static constexpr int kKeyRegs = S::kAccumulators > 4 ? 2 : 1;   // keys of a step, in Reg
  static constexpr int kBlockRows = S::kAccumulators / kKeyRegs;  // rows of a block
  static constexpr int kKeyStep = kKeyRegs * Reg::kLanes;

  struct Row {
    const AttentionQuery* query;
    const float* q;
    float* o;
    int32_t head;
    float max;
    bool seen;
  };
  struct Tile {
    int32_t rows;
    int32_t page_count;
    Row row[kTileRows];
    alignas(64) float sums[kTileRows][16];
  };
  // A row that sees keys [begin, end) of the page at hand.
  struct Active {
    int32_t row, begin, end;
  };

  static_assert(kBlockRows <= 16);  // their maxima share one vector

  // ---- scores

  // score[row][key] = sum over d ascending of q[row][d] * k[d][key], for keys [first, first +
  // kKeyStep).
  template <KvType kType, int kRows>
  static GEIST_INLINE void score_step(const float* const* q, const KvHead& kv, int32_t first,
                                      int32_t dim, float* score) {
    using Read = KvRead<S, kType>;
    T acc[kRows][kKeyRegs];
    GEIST_UNROLL
    for (int i = 0; i < kRows; ++i) {
      GEIST_UNROLL
      for (int j = 0; j < kKeyRegs; ++j) acc[i][j] = Reg::zero();
    }
    for (int32_t d = 0; d < dim;) {
      const int32_t end = Read::kScaled && dim - d > kKvScaleBlock ? d + kKvScaleBlock : dim;
      T scale[kKeyRegs];
      GEIST_UNROLL
      for (int j = 0; j < kKeyRegs; ++j)
        scale[j] = Read::key_scale(kv.key_scales, d, first + j * Reg::kLanes);
      for (; d < end; ++d) {
        const std::byte* k = kv.keys + (int64_t{d} * kPageTokens + first) * Read::kBytes;
        T key[kKeyRegs];
        GEIST_UNROLL
        for (int j = 0; j < kKeyRegs; ++j)
          key[j] = Read::load(k + j * Reg::kLanes * Read::kBytes, scale[j]);
        GEIST_UNROLL
        for (int i = 0; i < kRows; ++i) {
          const T factor = Reg::keep(Reg::set1(q[i][d]));
          GEIST_UNROLL
          for (int j = 0; j < kKeyRegs; ++j) acc[i][j] = Reg::fma(factor, key[j], acc[i][j]);
        }
      }
    }
    GEIST_UNROLL
    for (int i = 0; i < kRows; ++i) {
      GEIST_UNROLL
      for (int j = 0; j < kKeyRegs; ++j) {
        Reg::store(score + i * kPageTokens + j * Reg::kLanes, acc[i][j]);
      }
    }
  }

  template <KvType kType, int kRows>
  static void score_rows(const float* const* q, const KvHead& kv, int32_t dim, int32_t count,
                         float* score) {
    for (int32_t first = 0; first < count; first += kKeyStep) {
      score_step<kType, kRows>(q, kv, first, dim, score + first);
    }
  }

  // ---- softmax

  struct Bias {
    float scale, cap, slope;
    bool has_slope;
    int32_t distance;  // position of the page's first key minus the query's
  };

  static GEIST_INLINE F adjust(F s, const Bias& bias, int32_t first_key) {
    s = S::mul(s, S::set1(bias.scale));
    if (bias.cap != 0.0f) s = simd_softcap<S>(s, S::set1(bias.cap));
    if (bias.has_slope) {
      s = S::fma(S::set1(bias.slope), S::count_from(bias.distance + first_key), s);
    }
    return s;
  }

  // Adjusts 32 scores (-inf outside [begin, end)) and returns the largest of them and `max`.
  static GEIST_INLINE float adjust_row(float* score, const Bias& bias, int32_t begin, int32_t end,
                                       float max) {
    const F lowest = S::set1(-__builtin_inff());
    const F low = S::select(S::range(begin, end), adjust(S::load(score), bias, 0), lowest);
    S::store(score, low);
    F high = lowest;
    if (end > 16) {
      high =
          S::select(S::range(begin - 16, end - 16), adjust(S::load(score + 16), bias, 16), lowest);
      S::store(score + 16, high);
    }
    const float top = S::max_lane(S::max(low, high));
    return max > top ? max : top;
  }

  // Turns 32 adjusted scores into exponentials (+0 outside [begin, end)) and adds them to the sums.
  static GEIST_INLINE void exponentiate_row(float* score, int32_t begin, int32_t end, float max,
                                            float c, float* sums) {
    const F shift = S::set1(max);
    F e = simd_exp<S>(S::sub(S::load(score), shift));
    e = S::select(S::range(begin, end), e, S::zero());
    S::store(score, e);
    F l = S::add(S::mul(S::load(sums), S::set1(c)), e);
    if (end > 16) {
      e = simd_exp<S>(S::sub(S::load(score + 16), shift));
      e = S::select(S::range(begin - 16, end - 16), e, S::zero());
      S::store(score + 16, e);
      l = S::add(l, e);
    }
    S::store(sums, l);
  }

  // Scores of `count` <= 16 rows to exponentials; c[i] is what row i's o is to be scaled by.
  static void softmax_rows(const AttentionShape& shape, const AttentionPage& page, Tile& tile,
                           const Active* active, int count, float* score, float* c) {
    float old_max[16] = {}, new_max[16] = {};
    const bool has_slope = shape.alibi_slopes != nullptr;
    for (int i = 0; i < count; ++i) {
      const Row& row = tile.row[active[i].row];
      const Bias bias{shape.scale, shape.softcap, has_slope ? shape.alibi_slopes[row.head] : 0.0f,
                      has_slope, page.first_pos - row.query->pos};
      old_max[i] = row.max;
      new_max[i] =
          adjust_row(score + i * kPageTokens, bias, active[i].begin, active[i].end, row.max);
    }
    S::store(c, simd_exp<S>(S::sub(S::load(old_max), S::load(new_max))));
    for (int i = 0; i < count; ++i) {
      Row& row = tile.row[active[i].row];
      exponentiate_row(score + i * kPageTokens, active[i].begin, active[i].end, new_max[i], c[i],
                       tile.sums[active[i].row]);
      row.max = new_max[i];
      row.seen = true;
    }
  }

  // ---- values

  // o[row][d] = o[row][d] * c[row], then e[row][key] * v[key][d] added for keys [begin, end)
  // ascending, for kRegs registers of d; of the last one only n lanes exist if kPart.
  template <KvType kType, int kRows, int kRegs, bool kPart>
  static GEIST_INLINE void value_step(float* const* o, const float* e, const float* c,
                                      const KvHead& kv, int64_t dim, int32_t begin, int32_t end,
                                      int64_t d, int64_t n) {
    using Read = KvRead<S, kType>;
    T acc[kRows][kRegs];
    GEIST_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const T factor = Reg::set1(c[i]);
      GEIST_UNROLL
      for (int j = 0; j < kRegs; ++j) {
        const float* from = o[i] + d + j * Reg::kLanes;
        acc[i][j] =
            Reg::mul(!kPart || j + 1 < kRegs ? Reg::load(from) : Reg::load_n(from, n), factor);
      }
    }
    const std::byte* v = kv.values + (begin * dim + d) * Read::kBytes;
    for (int32_t key = begin; key < end; ++key, v += dim * Read::kBytes) {
      T value[kRegs];
      GEIST_UNROLL
      for (int j = 0; j < kRegs; ++j) {
        const std::byte* from = v + j * Reg::kLanes * Read::kBytes;
        const T scale = Read::value_scale(kv.value_scales, dim, key, d + j * Reg::kLanes);
        value[j] = !kPart || j + 1 < kRegs ? Read::load(from, scale) : Read::load_n(from, n, scale);
      }
      GEIST_UNROLL
      for (int i = 0; i < kRows; ++i) {
        const T factor = Reg::keep(Reg::set1(e[i * kPageTokens + key]));
        GEIST_UNROLL
        for (int j = 0; j < kRegs; ++j) acc[i][j] = Reg::fma(factor, value[j], acc[i][j]);
      }
    }
    GEIST_UNROLL
    for (int i = 0; i < kRows; ++i) {
      GEIST_UNROLL
      for (int j = 0; j < kRegs; ++j) {
        float* to = o[i] + d + j * Reg::kLanes;
        if (!kPart || j + 1 < kRegs) {
          Reg::store(to, acc[i][j]);
        } else {
          Reg::store_n(to, acc[i][j], n);
        }
      }
    }
  }

  template <KvType kType, int kRows>
  static void value_rows(float* const* o, const float* e, const float* c, const KvHead& kv,
                         int64_t dim, int32_t begin, int32_t end) {
    constexpr int kRegs = S::kAccumulators / kRows < 8 ? S::kAccumulators / kRows : 8;
    constexpr int64_t kWide = kRegs * Reg::kLanes;
    int64_t d = 0;
    for (; d + kWide <= dim; d += kWide) {
      value_step<kType, kRows, kRegs, false>(o, e, c, kv, dim, begin, end, d, Reg::kLanes);
    }
    for (; d + Reg::kLanes <= dim; d += Reg::kLanes) {
      value_step<kType, kRows, 1, false>(o, e, c, kv, dim, begin, end, d, Reg::kLanes);
    }
    if (d < dim) value_step<kType, kRows, 1, true>(o, e, c, kv, dim, begin, end, d, dim - d);
  }

  // ---- a page

  // Calls f.template operator()<n>(first) for parts of [0, count) of kRows, kRows / 2, ... 1 rows.
  template <int kRows, class Call>
  static GEIST_INLINE void in_parts(int count, int first, Call call) {
    while (count - first >= kRows) {
      call.template operator()<kRows>(first);
      first += kRows;
    }
    if constexpr (kRows > 1) in_parts<kRows / 2>(count, first, call);
  }

  // The keys of a page that a query may see; empty when end <= begin.
  static GEIST_INLINE Active visible(const AttentionQuery& query, int32_t index) {
    const AttentionPage& page = query.pages[index];
    if (index >= query.page_count || ((query.visible_labels >> (page.label & 63)) & 1) == 0) {
      return {0, 0, 0};
    }
    const int64_t begin = static_cast<int64_t>(query.pos_begin) - page.first_pos;
    const int64_t end = static_cast<int64_t>(query.pos_end) - page.first_pos;
    return {0, begin > 0 ? (begin < page.count ? static_cast<int32_t>(begin) : page.count) : 0,
            end < page.count ? (end > 0 ? static_cast<int32_t>(end) : 0) : page.count};
  }

  static int32_t find_active(const Tile& tile, int32_t index, Active* active) {
    int32_t count = 0;
    Active seen{0, 0, 0};
    for (int32_t i = 0; i < tile.rows; ++i) {
      const AttentionQuery* query = tile.row[i].query;
      if (i == 0 || query != tile.row[i - 1].query) seen = visible(*query, index);
      if (seen.begin < seen.end) active[count++] = {i, seen.begin, seen.end};
    }
    return count;
  }

  // Up to kBlockRows rows that all see something of the page.
  template <KvType kType>
  static void page_block(const AttentionShape& shape, const AttentionPage& page, int32_t kv_head,
                         Tile& tile, const Active* active, int count) {
    alignas(64) float score[kBlockRows * kPageTokens];
    const float* q[kBlockRows];
    float* o[kBlockRows];
    float c[16];
    int32_t end_max = 0;
    for (int i = 0; i < count; ++i) {
      q[i] = tile.row[active[i].row].q;
      o[i] = tile.row[active[i].row].o;
      end_max = active[i].end > end_max ? active[i].end : end_max;
    }
    const KvHead kv({shape.kv_heads, shape.key_dim, shape.value_dim, kType}, page.data, kv_head);
    in_parts<kBlockRows>(count, 0, [&]<int kRows>(int i) {
      score_rows<kType, kRows>(q + i, kv, shape.key_dim, end_max, score + i * kPageTokens);
    });

    softmax_rows(shape, page, tile, active, count, score, c);

    for (int first = 0; first < count;) {  // rows that see the same keys go together
      const int32_t begin = active[first].begin, end = active[first].end;
      int last = first + 1;
      while (last < count && active[last].begin == begin && active[last].end == end) ++last;
      in_parts<kBlockRows>(last, first, [&]<int kRows>(int i) {
        value_rows<kType, kRows>(o + i, score + i * kPageTokens, c + i, kv, shape.value_dim, begin,
                                 end);
      });
      first = last;
    }
  }

  static void page_rows(const AttentionShape& shape, const AttentionPage& page, int32_t kv_head,
                        Tile& tile, const Active* active, int count) {
    switch (page.type) {
      case KvType::kF32:
        return page_block<KvType::kF32>(shape, page, kv_head, tile, active, count);
      case KvType::kF16:
        return page_block<KvType::kF16>(shape, page, kv_head, tile, active, count);
      case KvType::kBF16:
        return page_block<KvType::kBF16>(shape, page, kv_head, tile, active, count);
      case KvType::kQ8_0:
        return page_block<KvType::kQ8_0>(shape, page, kv_head, tile, active, count);
    }
  }

  // ---- a tile

  static void finish_row(const AttentionShape& shape, Row& row, const float* sums) {
    const int64_t n = shape.value_dim;
    if (!row.seen) return;  // o is still 0
    float total = S::sum(S::load(sums));
    float factor = 1.0f;
    if (shape.sinks != nullptr) {
      const float sink = shape.sinks[row.head];
      const float max = row.max > sink ? row.max : sink;
      float lane[16];
      S::store(lane,
               simd_exp<S>(S::select(S::range(0, 1), S::set1(row.max - max), S::set1(sink - max))));
      factor = lane[0];
      total = OneLane::fma(total, lane[0], lane[1]);
    }
    const F c = S::set1(factor), inverse = S::set1(1.0f / total);
    for (int64_t d = 0; d < n; d += 16) {
      const int64_t left = n - d < 16 ? n - d : 16;
      F o = S::load_n(row.o + d, left);
      if (shape.sinks != nullptr) o = S::mul(o, c);
      S::store_n(row.o + d, S::mul(o, inverse), left);
    }
  }

  static void run_tile(const AttentionShape& shape, int32_t kv_head, Tile& tile) {
    for (int32_t i = 0; i < tile.rows; ++i) {
      Row& row = tile.row[i];
      row.max = -__builtin_inff();
      row.seen = false;
      S::store(tile.sums[i], S::zero());
      for (int64_t d = 0; d < shape.value_dim; d += 16) {
        S::store_n(row.o + d, S::zero(), shape.value_dim - d < 16 ? shape.value_dim - d : 16);
      }
    }
    Active active[kTileRows];
    for (int32_t index = 0; index < tile.page_count; ++index) {
      const AttentionPage& page = tile.row[0].query->pages[index];
      const int32_t count = find_active(tile, index, active);
      for (int32_t i = 0; i < count; i += kBlockRows) {
        const int32_t rows = count - i < kBlockRows ? count - i : kBlockRows;
        page_rows(shape, page, kv_head, tile, active + i, rows);
      }
    }
    for (int32_t i = 0; i < tile.rows; ++i) finish_row(shape, tile.row[i], tile.sums[i]);
  }

  static void run(const AttentionShape& shape, const AttentionQuery* queries, int64_t query_count,
                  int64_t first_head, int64_t head_count) {
    Tile tile;
    tile.rows = 0;
    tile.page_count = 0;
    const int32_t begin = static_cast<int32_t>(first_head);
    const int32_t end = begin + static_cast<int32_t>(head_count);
    const int32_t kv = begin / (shape.heads / shape.kv_heads);
    for (int64_t i = 0; i < query_count; ++i) {
      const AttentionQuery& query = queries[i];
      for (int32_t head = begin; head < end; ++head) {
        const bool other_pages = tile.rows > 0 && tile.row[0].query->pages != query.pages;
        if (other_pages || tile.rows == kTileRows) {
          run_tile(shape, kv, tile);
          tile.rows = 0;
          tile.page_count = 0;
        }
        Row& row = tile.row[tile.rows++];
        row.query = &query;
        row.q = query.q + static_cast<int64_t>(head) * shape.key_dim;
        row.o = query.out + static_cast<int64_t>(head) * shape.value_dim;
        row.head = head;
        if (query.page_count > tile.page_count) tile.page_count = query.page_count;
      }
    }
    if (tile.rows > 0) run_tile(shape, kv, tile);
  }
};

template <class S>
void fill_attention_kernels(Kernels& k) {
  k.attention = Attention<S>::run;
}

}  // namespace geist::kernels
