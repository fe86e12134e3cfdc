// Attention of many queries over pages of keys and values (attention.h), over the lanes of S.
// Included only by attention_*.cc and scalar_fma.cc.
//
// A row is one (query, head) pair; all heads that share the kv head, of all consecutive queries
// that share a page list, make the rows of a tile. Its queries are copied once into blocks of rows,
// [d][rows of the block], and o accumulates in a copy of its own, so that all that a page meets
// lies in a line. Page by page:
//   scores   keys in lanes: K[d][key] is loaded once for a block of rows, times q[d][row] broadcast
//   softmax  a row at a time, 32 keys in two vectors; the running maximum and 16 sums stay in the
//            tile
//   values   elements of o in lanes: V[key][d] once for a block of rows, times e[row][key]
//            broadcast; o stays in registers across the keys of a page
// A page of (key_dim + value_dim) * 32 elements is read from memory once a tile, asked for while
// the one before it is computed, and widened to f32, exactly, in registers. Order of accumulation:
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

  static constexpr int kTileRows = 96;
  // Of its queries and of o: 96 rows of heads of 256, fewer of longer ones.
  static constexpr int64_t kTileFloats = int64_t{kTileRows} * 256;
  static constexpr int kKeyRegs = S::kAccumulators > 4 ? 2 : 1;   // keys of a step, in Reg
  static constexpr int kBlockRows = S::kAccumulators / kKeyRegs;  // rows of a block
  static constexpr int kStepBlocks = 32 / kBlockRows;
  static constexpr int kKeyStep = kKeyRegs * Reg::kLanes;

  struct Row {
    const AttentionQuery* query;
    int32_t head;
    float max;
    bool seen;
  };
  // Rows of the tile whose queries lie together: 8 (of AVX-512), or 4, 2, 1 at the end.
  struct Block {
    int32_t first, rows;
  };
  struct Tile {
    int32_t rows, page_count, block_count;
    int64_t o_stride;
    Row row[kTileRows];
    Block block[kTileRows];
    alignas(64) float sums[kTileRows][16];
    alignas(64) float q[kTileFloats];
    alignas(64) float o[kTileFloats];
    alignas(64) float score[kTileRows * kPageTokens];
    float c[kTileRows];  // what a row's o is to be scaled by
    GEIST_INLINE const float* q_of(const Block& b, int64_t key_dim) const {
      return q + b.first * key_dim;
    }
    GEIST_INLINE float* o_of(int32_t i) { return o + i * o_stride; }
    GEIST_INLINE float* score_of(int32_t i) { return score + i * kPageTokens; }
  };
  // A row that sees keys [begin, end) of the page at hand.
  struct Active {
    int32_t row, begin, end;
    GEIST_INLINE bool full() const { return begin == 0 && end == kPageTokens; }
  };

  // ---- scores

  // score[row][key] = sum over d ascending of q[d][row] * k[d][key], for keys [first, first +
  // kKeyStep).
  template <KvType kType, int kRows>
  static GEIST_INLINE void score_step(const float* q, const KvHead& kv, int32_t first, int32_t dim,
                                      float* score) {
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
      for (; d < end; ++d, q += kRows) {
        const std::byte* k = kv.keys + (int64_t{d} * kPageTokens + first) * Read::kBytes;
        T key[kKeyRegs];
        GEIST_UNROLL
        for (int j = 0; j < kKeyRegs; ++j)
          key[j] = Read::load(k + j * Reg::kLanes * Read::kBytes, scale[j]);
        GEIST_UNROLL
        for (int i = 0; i < kRows; ++i) {
          const T factor = Reg::keep(Reg::set1(q[i]));
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
  static void score_rows(const float* q, const KvHead& kv, int32_t dim, int32_t count,
                         float* score) {
    for (int32_t first = 0; first < count; first += kKeyStep) {
      score_step<kType, kRows>(q, kv, first, dim, score + first);
    }
  }

  // The block's rows, of which there are kRows or a half, a quarter, ... of that.
  template <KvType kType, int kRows>
  static GEIST_INLINE void score_block(Tile& tile, const Block& block, const KvHead& kv,
                                       int32_t dim, int32_t count) {
    if (block.rows == kRows) {
      score_rows<kType, kRows>(tile.q_of(block, dim), kv, dim, count, tile.score_of(block.first));
    } else if constexpr (kRows > 1) {
      score_block<kType, kRows / 2>(tile, block, kv, dim, count);
    }
  }

  // ---- softmax

  struct Bias {
    float scale, cap, slope;
    bool has_slope;
    int32_t distance;  // position of the page's first key minus the query's
  };
  static GEIST_INLINE bool is_plain(const AttentionShape& shape) {  // only scaled
    return shape.softcap == 0.0f && shape.alibi_slopes == nullptr;
  }

  template <bool kPlain>
  static GEIST_INLINE F adjust(F s, const Bias& bias, int32_t first_key) {
    s = S::mul(s, S::set1(bias.scale));
    if constexpr (kPlain) return s;
    if (bias.cap != 0.0f) s = simd_softcap<S>(s, S::set1(bias.cap));
    if (bias.has_slope) {
      s = S::fma(S::set1(bias.slope), S::count_from(bias.distance + first_key), s);
    }
    return s;
  }

  // Adjusts 32 scores (-inf outside [begin, end)) and returns the largest of them and `max`.
  template <bool kPlain>
  static GEIST_INLINE float adjust_row(float* score, const Bias& bias, const Active& seen,
                                       float max) {
    F low = adjust<kPlain>(S::load(score), bias, 0);
    F high = adjust<kPlain>(S::load(score + 16), bias, 16);
    if (!seen.full()) {
      const F lowest = S::set1(-__builtin_inff());
      low = S::select(S::range(seen.begin, seen.end), low, lowest);
      high = S::select(S::range(seen.begin - 16, seen.end - 16), high, lowest);
    }
    S::store(score, low);
    S::store(score + 16, high);
    const float top = S::max_lane(S::max(low, high));
    return max > top ? max : top;
  }

  // Turns 32 adjusted scores into exponentials (+0 outside [begin, end)) and adds them to the sums.
  static GEIST_INLINE void exponentiate_row(float* score, const Active& seen, float max, float c,
                                            float* sums) {
    const F shift = S::set1(max);
    F low = simd_exp_below_1<S>(S::sub(S::load(score), shift));
    F high = simd_exp_below_1<S>(S::sub(S::load(score + 16), shift));
    if (!seen.full()) {
      low = S::select(S::range(seen.begin, seen.end), low, S::zero());
      high = S::select(S::range(seen.begin - 16, seen.end - 16), high, S::zero());
    }
    S::store(score, low);
    S::store(score + 16, high);
    S::store(sums, S::add(S::add(S::mul(S::load(sums), S::set1(c)), low), high));
  }

  // Scores of `count` <= 16 rows to exponentials; fills in what their o is to be scaled by.
  template <bool kPlain>
  static void softmax_rows(const AttentionShape& shape, const AttentionPage& page, Tile& tile,
                           const Active* active, int count) {
    alignas(64) float old_max[16] = {}, new_max[16] = {}, c[16];
    const bool has_slope = !kPlain && shape.alibi_slopes != nullptr;
    for (int i = 0; i < count; ++i) {
      const Row& row = tile.row[active[i].row];
      const Bias bias{shape.scale, shape.softcap, has_slope ? shape.alibi_slopes[row.head] : 0.0f,
                      has_slope, page.first_pos - row.query->pos};
      old_max[i] = row.max;
      new_max[i] = adjust_row<kPlain>(tile.score_of(active[i].row), bias, active[i], row.max);
    }
    S::store(c, simd_exp_below_1<S>(S::sub(S::load(old_max), S::load(new_max))));
    for (int i = 0; i < count; ++i) {
      const int32_t at = active[i].row;
      exponentiate_row(tile.score_of(at), active[i], new_max[i], c[i], tile.sums[at]);
      tile.row[at].max = new_max[i];
      tile.row[at].seen = true;
      tile.c[at] = c[i];
    }
  }

  // ---- values

  // o[row][d] = o[row][d] * c[row], then e[row][key] * v[key][d] added for keys [begin, end)
  // ascending, for kRegs registers of d; of the last one only n lanes exist if kPart.
  template <KvType kType, int kRows, int kRegs, bool kPart>
  static GEIST_INLINE void value_step(float* o, int64_t o_stride, const float* e, const float* c,
                                      const KvHead& kv, int64_t dim, int32_t begin, int32_t end,
                                      int64_t d, int64_t n) {
    using Read = KvRead<S, kType>;
    T acc[kRows][kRegs];
    GEIST_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const T factor = Reg::set1(c[i]);
      GEIST_UNROLL
      for (int j = 0; j < kRegs; ++j) {
        const float* from = o + i * o_stride + d + j * Reg::kLanes;
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
        float* to = o + i * o_stride + d + j * Reg::kLanes;
        if (!kPart || j + 1 < kRegs) {
          Reg::store(to, acc[i][j]);
        } else {
          Reg::store_n(to, acc[i][j], n);
        }
      }
    }
  }

  template <KvType kType, int kRows>
  static void value_rows(float* o, int64_t o_stride, const float* e, const float* c,
                         const KvHead& kv, int64_t dim, int32_t begin, int32_t end) {
    constexpr int kRegs = S::kAccumulators / kRows < 8 ? S::kAccumulators / kRows : 8;
    constexpr int64_t kWide = kRegs * Reg::kLanes;
    int64_t d = 0;
    for (; d + kWide <= dim; d += kWide) {
      value_step<kType, kRows, kRegs, false>(o, o_stride, e, c, kv, dim, begin, end, d,
                                             Reg::kLanes);
    }
    for (; d + Reg::kLanes <= dim; d += Reg::kLanes) {
      value_step<kType, kRows, 1, false>(o, o_stride, e, c, kv, dim, begin, end, d, Reg::kLanes);
    }
    if (d < dim)
      value_step<kType, kRows, 1, true>(o, o_stride, e, c, kv, dim, begin, end, d, dim - d);
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

  // The rows that see something of page `index`; of the first one from there on that any row sees,
  // which `index` becomes. 0 when there is none.
  static int32_t find_active(const Tile& tile, int32_t& index, Active* active) {
    for (; index < tile.page_count; ++index)
      if (const int32_t count = active_rows(tile, index, active); count > 0) return count;
    return 0;
  }

  static int32_t active_rows(const Tile& tile, int32_t index, Active* active) {
    int32_t count = 0;
    Active seen{0, 0, 0};
    for (int32_t i = 0; i < tile.rows; ++i) {
      const AttentionQuery* query = tile.row[i].query;
      if (i == 0 || query != tile.row[i - 1].query) seen = visible(*query, index);
      if (seen.begin < seen.end) active[count++] = {i, seen.begin, seen.end};
    }
    return count;
  }

  // The next page's share of a kv head, asked for a part at a time while this page is computed: it
  // comes from the third-level cache or from memory, once a tile.
  struct Ahead {
    const std::byte* data = nullptr;
    int64_t lines = 0;
    GEIST_INLINE void fetch(int64_t part, int64_t parts) const {
      for (int64_t i = lines * part / parts; i < lines * (part + 1) / parts; ++i)
        __builtin_prefetch(data + 64 * i, 0, 2);
    }
  };

  static Ahead ahead_of(const AttentionShape& shape, const AttentionPage* page, int32_t kv_head) {
    if (page == nullptr) return {};
    const int64_t bytes =
        kv_block({shape.kv_heads, shape.key_dim, shape.value_dim, page->type}).bytes;
    return {page->data + kv_head * bytes, bytes / 64};
  }

  // o of these rows += their exponentials times the values that they see. Neighbours that see the
  // same keys go together.
  template <KvType kType>
  static GEIST_INLINE void add_values(Tile& tile, const Active* active, int count, const KvHead& kv,
                                      int64_t dim) {
    for (int first = 0; first < count;) {
      const Active& seen = active[first];
      int last = first + 1;
      while (last < count && active[last].begin == seen.begin && active[last].end == seen.end &&
             active[last].row == active[last - 1].row + 1)
        ++last;
      in_parts<kBlockRows>(last - first, 0, [&]<int kRows>(int i) {
        const int32_t row = seen.row + i;
        value_rows<kType, kRows>(tile.o_of(row), tile.o_stride, tile.score_of(row), tile.c + row,
                                 kv, dim, seen.begin, seen.end);
      });
      first = last;
    }
  }

  // `active`: the rows that see something of the page.
  template <KvType kType>
  static void page_rows(const AttentionShape& shape, const AttentionPage& page, int32_t kv_head,
                        Tile& tile, const Active* active, int count, const Ahead& ahead) {
    int32_t end_max = 0;
    for (int i = 0; i < count; ++i) end_max = active[i].end > end_max ? active[i].end : end_max;
    const KvHead kv({shape.kv_heads, shape.key_dim, shape.value_dim, kType}, page.data, kv_head);
    // A step of blocks at a time, whose queries and o fit into the first-level cache beside the
    // page.
    for (int32_t b = 0, i = 0; b < tile.block_count; b += kStepBlocks) {
      const int32_t end = b + kStepBlocks < tile.block_count ? b + kStepBlocks : tile.block_count;
      const int32_t first = i;
      for (int32_t at = b; at < end; ++at) {
        ahead.fetch(at, tile.block_count);
        const Block& block = tile.block[at];
        const int32_t before = i;
        while (i < count && active[i].row < block.first + block.rows) ++i;
        if (i > before) score_block<kType, kBlockRows>(tile, block, kv, shape.key_dim, end_max);
      }
      for (int32_t at = first; at < i; at += 16) {
        const int32_t n = i - at < 16 ? i - at : 16;
        is_plain(shape) ? softmax_rows<true>(shape, page, tile, active + at, n)
                        : softmax_rows<false>(shape, page, tile, active + at, n);
      }
      add_values<kType>(tile, active + first, i - first, kv, shape.value_dim);
    }
  }

  static void page_tile(const AttentionShape& shape, const AttentionPage& page, int32_t kv_head,
                        Tile& tile, const Active* active, int count, const Ahead& ahead) {
    switch (page.type) {
      case KvType::kF32:
        return page_rows<KvType::kF32>(shape, page, kv_head, tile, active, count, ahead);
      case KvType::kF16:
        return page_rows<KvType::kF16>(shape, page, kv_head, tile, active, count, ahead);
      case KvType::kBF16:
        return page_rows<KvType::kBF16>(shape, page, kv_head, tile, active, count, ahead);
      case KvType::kQ8_0:
        return page_rows<KvType::kQ8_0>(shape, page, kv_head, tile, active, count, ahead);
    }
  }

  // ---- a tile

  // Copies the queries of the tile and clears what accumulates.
  static void begin_tile(const AttentionShape& shape, Tile& tile) {
    tile.block_count = 0;
    in_parts<kBlockRows>(tile.rows, 0, [&]<int kRows>(int first) {
      const Block block{first, kRows};
      tile.block[tile.block_count++] = block;
      float* to = tile.q + first * int64_t{shape.key_dim};
      for (int32_t i = 0; i < kRows; ++i) {
        const Row& row = tile.row[first + i];
        const float* from = row.query->q + int64_t{row.head} * shape.key_dim;
        for (int64_t d = 0; d < shape.key_dim; ++d) to[d * kRows + i] = from[d];
      }
    });
    tile.o_stride = row_floats(shape.value_dim);
    for (int32_t i = 0; i < tile.rows; ++i) {
      tile.row[i].max = -__builtin_inff();
      tile.row[i].seen = false;
      S::store(tile.sums[i], S::zero());
      for (int64_t d = 0; d < tile.o_stride; d += 16) S::store(tile.o_of(i) + d, S::zero());
    }
  }

  static void finish_row(const AttentionShape& shape, const Row& row, const float* o,
                         const float* sums) {
    const int64_t n = shape.value_dim;
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
    // Without a visible key o is still 0, and stays so.
    const F c = S::set1(factor), inverse = S::set1(row.seen ? 1.0f / total : 1.0f);
    float* out = row.query->out + int64_t{row.head} * shape.value_dim;
    for (int64_t d = 0; d < n; d += 16) {
      F v = S::load(o + d);
      if (shape.sinks != nullptr && row.seen) v = S::mul(v, c);
      S::store_n(out + d, S::mul(v, inverse), n - d < 16 ? n - d : 16);
    }
  }

  static void run_tile(const AttentionShape& shape, int32_t kv_head, Tile& tile) {
    begin_tile(shape, tile);
    Active active[2][kTileRows];
    const AttentionPage* pages = tile.row[0].query->pages;
    int32_t index = 0, side = 0;
    for (int32_t count = find_active(tile, index, active[0]); count > 0; side ^= 1) {
      int32_t next = index + 1;
      const int32_t next_count = find_active(tile, next, active[side ^ 1]);
      const Ahead ahead = ahead_of(shape, next_count > 0 ? pages + next : nullptr, kv_head);
      page_tile(shape, pages[index], kv_head, tile, active[side], count, ahead);
      index = next;
      count = next_count;
    }
    for (int32_t i = 0; i < tile.rows; ++i)
      finish_row(shape, tile.row[i], tile.o_of(i), tile.sums[i]);
  }

  static GEIST_INLINE int64_t row_floats(int64_t dim) { return (dim + 15) / 16 * 16; }

  // Rows of heads of this shape that a tile has room for.
  static int32_t tile_rows(const AttentionShape& shape) {
    const int64_t longest =
        row_floats(shape.key_dim > shape.value_dim ? shape.key_dim : shape.value_dim);
    const int64_t rows = kTileFloats / longest;
    return static_cast<int32_t>(rows < kTileRows ? rows : kTileRows);
  }

  static void run(const AttentionShape& shape, const AttentionQuery* queries, int64_t query_count,
                  int64_t first_head, int64_t head_count) {
    Tile tile;
    tile.rows = 0;
    tile.page_count = 0;
    const int32_t rows_max = tile_rows(shape);
    const int32_t begin = static_cast<int32_t>(first_head);
    const int32_t end = begin + static_cast<int32_t>(head_count);
    const int32_t kv = begin / (shape.heads / shape.kv_heads);
    for (int64_t i = 0; i < query_count; ++i) {
      const AttentionQuery& query = queries[i];
      for (int32_t head = begin; head < end; ++head) {
        const bool other_pages = tile.rows > 0 && tile.row[0].query->pages != query.pages;
        if (other_pages || tile.rows == rows_max) {
          run_tile(shape, kv, tile);
          tile.rows = 0;
          tile.page_count = 0;
        }
        Row& row = tile.row[tile.rows++];
        row.query = &query;
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
