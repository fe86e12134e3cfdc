// Attention against the recurrence of docs/numerics.md written out for one query head, by bytes,
// for every instruction set; the same when queries come one at a time or in any batch; and proof
// that what a query may not see is not read.
#include "kernels/attention.h"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "kernels/block.h"
#include "kernels/kernel_test_support.h"
#include "kernels/math.h"

namespace geist::kernels {
namespace {

using Floats = std::vector<float>;
constexpr float kInf = std::numeric_limits<float>::infinity();

KvShape kv_shape(const AttentionShape& s) { return {s.kv_heads, s.key_dim, s.value_dim}; }

const float* keys_of(const AttentionShape& s, const std::byte* page, int kv_head) {
  return reinterpret_cast<const float*>(page + kv_head * kv_block(kv_shape(s)).bytes);
}

const float* values_of(const AttentionShape& s, const std::byte* page, int kv_head) {
  const KvBlock block = kv_block(kv_shape(s));
  return reinterpret_cast<const float*>(page + kv_head * block.bytes + block.values);
}

// ---- the reference

float score_of(const AttentionShape& s, const AttentionPage& page, const AttentionQuery& query,
               const float* q, int head, int kv_head, int j) {
  const float* k = keys_of(s, page.data, kv_head);
  float score = 0.0f;
  for (int d = 0; d < s.key_dim; ++d) score = std::fma(q[d], k[d * kPageTokens + j], score);
  score = score * s.scale;
  if (s.softcap != 0.0f) score = s.softcap * det_tanhf(score / s.softcap);
  if (s.alibi_slopes != nullptr) {
    score =
        std::fma(s.alibi_slopes[head], static_cast<float>(page.first_pos + j - query.pos), score);
  }
  return score;
}

bool sees(const AttentionQuery& query, const AttentionPage& page, int j) {
  const int p = page.first_pos + j;
  return ((query.visible_labels >> page.label) & 1) != 0 && j < page.count &&
         p >= query.pos_begin && p < query.pos_end;
}

void reference_head(const AttentionShape& s, const AttentionQuery& query, int head, float* out) {
  const int kv_head = head / (s.heads / s.kv_heads);
  const float* q = query.q + static_cast<int64_t>(head) * s.key_dim;
  float m = -kInf, l[16] = {};
  std::fill(out, out + s.value_dim, 0.0f);
  bool any = false;
  for (int i = 0; i < query.page_count; ++i) {
    const AttentionPage& page = query.pages[i];
    float score[kPageTokens], e[kPageTokens] = {};
    float top = m;
    bool visible = false;
    for (int j = 0; j < kPageTokens; ++j) {
      if (!sees(query, page, j)) continue;
      visible = true;
      score[j] = score_of(s, page, query, q, head, kv_head, j);
      top = std::max(top, score[j]);
    }
    if (!visible) continue;
    any = true;
    const float c = det_expf(m - top);
    for (int j = 0; j < kPageTokens; ++j) {
      if (sees(query, page, j)) e[j] = det_expf(score[j] - top);
    }
    for (int i16 = 0; i16 < 16; ++i16) l[i16] = (l[i16] * c + e[i16]) + e[16 + i16];
    const float* v = values_of(s, page.data, kv_head);
    for (int d = 0; d < s.value_dim; ++d) {
      out[d] = out[d] * c;
      for (int j = 0; j < kPageTokens; ++j) {
        if (sees(query, page, j)) out[d] = std::fma(e[j], v[j * s.value_dim + d], out[d]);
      }
    }
    m = top;
  }
  if (!any) return;
  for (int width = 8; width >= 1; width /= 2) {
    for (int j = 0; j < width; ++j) l[j] = l[j] + l[j + width];
  }
  float total = l[0];
  if (s.sinks != nullptr) {
    const float top = std::max(m, s.sinks[head]), c = det_expf(m - top);
    total = std::fma(total, c, det_expf(s.sinks[head] - top));
    for (int d = 0; d < s.value_dim; ++d) out[d] = out[d] * c;
  }
  const float inverse = 1.0f / total;
  for (int d = 0; d < s.value_dim; ++d) out[d] = out[d] * inverse;
}

// ---- a sequence cut into pages, and queries over it

struct Case {
  AttentionShape shape;
  Floats slopes, sinks;
  std::vector<Floats> data;  // a page each; places not in use hold NaN
  std::vector<AttentionPage> pages;
  Floats q;
  std::vector<AttentionQuery> queries;  // without out
};

// counts: tokens of each page in turn. label_of(page) gives its label.
std::unique_ptr<Case> make_case(AttentionShape shape, const std::vector<int>& counts) {
  auto c = std::make_unique<Case>();
  c->shape = shape;
  const size_t size = static_cast<size_t>(*kv_layer_bytes(kv_shape(shape))) / sizeof(float);
  RandomStream random(11, "pages");
  const auto uniform = [&] { return static_cast<float>(random.next_double() * 4 - 2); };
  int pos = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    Floats& data = c->data.emplace_back(size, std::nanf(""));
    auto* page = reinterpret_cast<std::byte*>(data.data());
    Floats k(static_cast<size_t>(shape.kv_heads) * static_cast<size_t>(shape.key_dim));
    Floats v(static_cast<size_t>(shape.kv_heads) * static_cast<size_t>(shape.value_dim));
    for (int j = 0; j < counts[i]; ++j) {
      std::generate(k.begin(), k.end(), uniform);
      std::generate(v.begin(), v.end(), uniform);
      kv_store(kv_shape(shape), page, j, k.data(), v.data());
    }
    c->pages.push_back({page, counts[i], pos, static_cast<uint32_t>(i % 3)});
    pos += counts[i];
  }
  c->q = random_floats(int64_t{pos} * shape.heads * shape.key_dim, "q", 2.0f);
  for (int t = 0; t < pos; ++t) {
    c->queries.push_back({c->q.data() + static_cast<int64_t>(t) * shape.heads * shape.key_dim,
                          nullptr, c->pages.data(), static_cast<int32_t>(counts.size()), 0, t + 1,
                          t, ~uint64_t{0}});
  }
  return c;
}

Floats reference(const Case& c) {
  const int64_t row = int64_t{c.shape.heads} * c.shape.value_dim;
  Floats out(c.queries.size() * static_cast<size_t>(row));
  for (size_t t = 0; t < c.queries.size(); ++t) {
    for (int h = 0; h < c.shape.heads; ++h) {
      reference_head(c.shape, c.queries[t], h,
                     out.data() + static_cast<int64_t>(t) * row + int64_t{h} * c.shape.value_dim);
    }
  }
  return out;
}

// The kernel on parts of `batch` queries.
Floats run(const Kernels& k, const Case& c, size_t batch) {
  const size_t row = static_cast<size_t>(c.shape.heads) * static_cast<size_t>(c.shape.value_dim);
  Floats out(c.queries.size() * row + 1, 42.0f);
  std::vector<AttentionQuery> queries = c.queries;
  for (size_t t = 0; t < queries.size(); ++t) queries[t].out = out.data() + t * row;
  const int group = c.shape.heads / c.shape.kv_heads;
  for (int head = 0; head < c.shape.heads; head += group) {
    for (size_t t = 0; t < queries.size(); t += batch) {
      const size_t count = std::min(batch, queries.size() - t);
      const int part = group / 2;  // a group whole, or in two parts
      const bool split = part > 0 && batch % 2 == 1;
      if (split) k.attention(c.shape, queries.data() + t, static_cast<int64_t>(count), head, part);
      const int from = split ? part : 0;
      k.attention(c.shape, queries.data() + t, static_cast<int64_t>(count), head + from,
                  group - from);
    }
  }
  EXPECT_EQ(out.back(), 42.0f) << "writes past the end";
  out.pop_back();
  return out;
}

void expect_reference(const Case& c, const char* what) {
  const Floats want = reference(c);
  for (const Kernels* k : all_kernels()) {
    for (const size_t batch : {size_t{1}, size_t{5}, c.queries.size()}) {
      if (k->isa == Isa::kPortable && batch == 5) continue;  // slow
      EXPECT_TRUE(same_bytes(run(*k, c, batch), want))
          << what << " " << k->name << " batch " << batch;
    }
  }
}

AttentionShape shape_of(int heads, int kv_heads, int key_dim, int value_dim) {
  return {heads, kv_heads, key_dim, value_dim, 1.0f / std::sqrt(static_cast<float>(key_dim)),
          0.0f,  nullptr,  nullptr};
}

TEST(Attention, CausalMatchesTheReferenceInEveryBatch) {
  const int dims[][4] = {{1, 1, 1, 1},    {2, 1, 7, 5},   {4, 4, 16, 16},  {8, 2, 17, 31},
                         {6, 2, 64, 64},  {5, 1, 80, 48}, {3, 3, 33, 100}, {4, 1, 128, 128},
                         {3, 3, 96, 257}, {71, 1, 8, 4}};
  for (const auto& d : dims) {
    const auto c = make_case(shape_of(d[0], d[1], d[2], d[3]), {32, 27});
    expect_reference(*c, "causal");
  }
}

TEST(Attention, PagesPartlyFilled) {
  const auto c = make_case(shape_of(4, 2, 24, 40), {1, 16, 31, 32, 15, 17, 2});
  expect_reference(*c, "partly filled");
}

TEST(Attention, WindowsAndLabels) {
  const auto c = make_case(shape_of(8, 2, 32, 32), {32, 20, 32, 32, 9});
  for (size_t t = 0; t < c->queries.size(); ++t) {
    c->queries[t].pos_begin = std::max(0, static_cast<int>(t) - 40);
    c->queries[t].visible_labels = t % 4;  // none, label 0, label 1, both; never label 2
  }
  expect_reference(*c, "windows and labels");
}

TEST(Attention, SeesLaterPositionsWhenToldTo) {  // an encoder's queries see everything
  const auto c = make_case(shape_of(6, 6, 32, 32), {32, 32, 5});
  for (AttentionQuery& query : c->queries) query.pos_end = 69;
  expect_reference(*c, "bidirectional");
}

TEST(Attention, CapAlibiAndSinks) {
  auto c = make_case(shape_of(6, 2, 48, 32), {32, 32, 11});
  c->slopes = {0.5f, 0.25f, 0.125f, 0.0625f, 0.03125f, 0.015625f};
  c->sinks = {-1.0f, 0.0f, 1.0f, 5.0f, -30.0f, 100.0f};
  c->shape.softcap = 3.0f;
  expect_reference(*c, "cap");
  c->shape.softcap = 0.0f;
  c->shape.alibi_slopes = c->slopes.data();
  expect_reference(*c, "ALiBi");
  c->shape.sinks = c->sinks.data();
  c->shape.softcap = 5.0f;
  expect_reference(*c, "all");
}

TEST(Attention, QueriesOfSeveralSequencesInOneCall) {
  const AttentionShape shape = shape_of(4, 2, 20, 20);
  auto a = make_case(shape, {32, 8});
  const auto b = make_case(shape, {7});
  for (size_t i = 0; i < b->queries.size(); ++i) {  // a, b, b, a, a, b, ...
    a->queries.insert(a->queries.begin() + static_cast<int64_t>(3 * i), b->queries[i]);
  }
  expect_reference(*a, "several sequences");
}

TEST(Attention, PageCountMayDifferBetweenQueriesOfOneList) {
  const auto c = make_case(shape_of(4, 2, 20, 20), {32, 32, 32});
  for (size_t t = 0; t < c->queries.size(); ++t) c->queries[t].page_count = static_cast<int>(t % 4);
  expect_reference(*c, "page counts");
}

TEST(Attention, NothingVisibleGivesZero) {
  const auto c = make_case(shape_of(2, 1, 16, 16), {32});
  for (AttentionQuery& query : c->queries) query.pos_begin = query.pos_end = 4;
  for (const Kernels* k : all_kernels()) {
    EXPECT_TRUE(same_bytes(run(*k, *c, 7), Floats(c->queries.size() * 32, 0.0f))) << k->name;
  }
}

TEST(Attention, ExtremeScoresStayFinite) {
  auto c = make_case(shape_of(2, 1, 16, 16), {32, 32});
  c->shape.scale = 300.0f;
  expect_reference(*c, "extreme");
  for (const float x : run(*kernels_for(Isa::kScalar), *c, 64)) EXPECT_TRUE(std::isfinite(x));
}

// ---- what may not be seen is not there

// Memory that faults when it is read.
class ForbiddenMemory {
 public:
  explicit ForbiddenMemory(size_t bytes)
      : bytes_(bytes), data_(mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {}
  ~ForbiddenMemory() { munmap(data_, bytes_); }
  ForbiddenMemory(const ForbiddenMemory&) = delete;
  ForbiddenMemory& operator=(const ForbiddenMemory&) = delete;
  const std::byte* data() const { return static_cast<const std::byte*>(data_); }

 private:
  size_t bytes_;
  void* data_;
};

TEST(AttentionMask, AnInvisiblePageIsNotRead) {
  const auto c = make_case(shape_of(8, 2, 64, 64), {32, 32, 32, 32, 32});
  const ForbiddenMemory memory(1 << 20);
  ASSERT_NE(memory.data(), static_cast<const std::byte*>(MAP_FAILED));
  for (AttentionQuery& query : c->queries) {
    query.visible_labels = 0b101;                     // pages 1 and 4 have label 1
    query.pos_begin = std::max(32, query.pos_begin);  // page 0 is out of the window
  }
  const Floats want = reference(*c);
  for (const size_t page : {0, 1, 4}) c->pages[page].data = memory.data();
  for (const Kernels* k : all_kernels()) {
    EXPECT_TRUE(same_bytes(run(*k, *c, 64), want)) << k->name;
  }
}

TEST(AttentionMask, InvisiblePagesAreAsIfAbsent) {
  const auto c = make_case(shape_of(8, 2, 32, 48), {32, 20, 32, 32, 9});
  for (AttentionQuery& query : c->queries) query.visible_labels = 0b101;
  const auto without = make_case(shape_of(8, 2, 32, 48), {32, 20, 32, 32, 9});
  std::vector<AttentionPage> pages;
  for (const AttentionPage& page : without->pages) {
    if (page.label != 1) pages.push_back(page);
  }
  without->pages = pages;
  for (AttentionQuery& query : without->queries) {
    query.pages = without->pages.data();
    query.page_count = static_cast<int32_t>(pages.size());
  }
  for (const Kernels* k : all_kernels()) {
    EXPECT_TRUE(same_bytes(run(*k, *c, 16), run(*k, *without, 16))) << k->name;
  }
}

TEST(AttentionMask, InvisibleKeysOfAVisiblePageMayHoldAnything) {
  const auto c = make_case(shape_of(4, 1, 32, 32), {32, 32, 32});
  for (AttentionQuery& query : c->queries) query.pos_begin = 10, query.pos_end = 75;
  const Floats want = reference(*c);
  const auto spoil = [&](size_t page, int begin, int end) {
    auto* data = reinterpret_cast<std::byte*>(c->data[page].data());
    Floats k(32, std::nanf("")), v(32, kInf);
    for (int d = 0; d < 32; d += 2) v[static_cast<size_t>(d)] = std::nanf("");
    for (int j = begin; j < end; ++j) kv_store(kv_shape(c->shape), data, j, k.data(), v.data());
  };
  spoil(0, 0, 10);
  spoil(2, 11, 32);
  for (const Kernels* k : all_kernels()) {
    EXPECT_TRUE(same_bytes(run(*k, *c, 96), want)) << k->name;
  }
}

// Decoding: the page list grows token by token; an early query's result does not depend on what
// follows.
TEST(AttentionMask, TokenByTokenEqualsTheWholeAtOnce) {
  const auto c = make_case(shape_of(8, 2, 64, 64), {32, 32, 32, 3});
  for (const Kernels* k : all_kernels()) {
    const Floats whole = run(*k, *c, c->queries.size());
    Floats grown;
    for (size_t t = 0; t < c->queries.size(); ++t) {
      std::vector<AttentionPage> pages(c->pages.begin(),
                                       c->pages.begin() + static_cast<int64_t>(t / 32) + 1);
      pages.back().count = static_cast<int32_t>(t % 32) + 1;
      Floats out(8 * 64);
      AttentionQuery query = c->queries[t];
      query.pages = pages.data();
      query.page_count = static_cast<int32_t>(pages.size());
      query.out = out.data();
      for (int head = 0; head < 8; head += 4) k->attention(c->shape, &query, 1, head, 4);
      grown.insert(grown.end(), out.begin(), out.end());
    }
    EXPECT_TRUE(same_bytes(grown, whole)) << k->name;
  }
}

// ---- smaller types: the arithmetic is that of F32 over the values that the bytes stand for

float element_of(KvType type, const std::byte* section, const std::byte* scales, int64_t index,
                 int64_t scale_index) {
  const auto half_at = [](const std::byte* p, int64_t i) {
    uint16_t bits;
    std::memcpy(&bits, p + 2 * i, 2);
    return bits;
  };
  switch (type) {
    case KvType::kF32:
      break;
    case KvType::kF16:
      return f16_to_f32(half_at(section, index));
    case KvType::kBF16:
      return bf16_to_f32(half_at(section, index));
    case KvType::kQ8_0:
      return static_cast<float>(static_cast<int8_t>(section[index])) *
             f16_to_f32(half_at(scales, scale_index));
  }
  float value;
  std::memcpy(&value, section + 4 * index, 4);
  return value;
}

// The same page with every element widened to F32.
Floats widened(const KvShape& shape, const std::byte* page) {
  const KvShape f32{shape.kv_heads, shape.key_dim, shape.value_dim};
  Floats out(static_cast<size_t>(*kv_layer_bytes(f32)) / sizeof(float), std::nanf(""));
  const KvBlock from = kv_block(shape), to = kv_block(f32);
  const int64_t blocks = (shape.value_dim + kKvScaleBlock - 1) / kKvScaleBlock;
  for (int h = 0; h < shape.kv_heads; ++h, page += from.bytes) {
    float* k = out.data() + h * to.bytes / 4;
    float* v = k + to.values / 4;
    for (int64_t d = 0; d < shape.key_dim; ++d)
      for (int64_t j = 0; j < kPageTokens; ++j)
        k[d * kPageTokens + j] =
            element_of(shape.type, page, page + from.key_scales, d * kPageTokens + j,
                       d / kKvScaleBlock * kPageTokens + j);
    for (int64_t j = 0; j < kPageTokens; ++j)
      for (int64_t d = 0; d < shape.value_dim; ++d)
        v[j * shape.value_dim + d] =
            element_of(shape.type, page + from.values, page + from.value_scales,
                       j * shape.value_dim + d, j * blocks + d / kKvScaleBlock);
  }
  return out;
}

TEST(AttentionTypes, ReadAsTheirWidenedValues) {
  const int dims[][4] = {{2, 1, 7, 5}, {4, 2, 17, 31}, {3, 3, 33, 100}, {2, 1, 128, 64}};
  for (const KvType type : {KvType::kF16, KvType::kBF16, KvType::kQ8_0}) {
    for (const auto& d : dims) {
      const AttentionShape shape = shape_of(d[0], d[1], d[2], d[3]);
      const auto typed = make_case(shape, {32, 7}), wide = make_case(shape, {32, 7});
      const KvShape kv{shape.kv_heads, shape.key_dim, shape.value_dim, type};
      std::vector<std::vector<std::byte>> pages;
      RandomStream random(5, "typed");
      for (size_t i = 0; i < typed->pages.size(); ++i) {
        auto& page = pages.emplace_back(static_cast<size_t>(*kv_layer_bytes(kv)));
        for (int j = 0; j < typed->pages[i].count; ++j) {
          Floats row(static_cast<size_t>(d[1] * (d[2] + d[3])));
          for (float& x : row) x = static_cast<float>(random.next_double() * 4 - 2);
          kv_store(kv, page.data(), j, row.data(), row.data() + d[1] * d[2]);
        }
        typed->pages[i].data = page.data();
        typed->pages[i].type = type;
        wide->data[i] = widened(kv, page.data());
        wide->pages[i].data = reinterpret_cast<const std::byte*>(wide->data[i].data());
      }
      const Floats want = reference(*wide);
      for (const Kernels* k : all_kernels())
        for (const size_t batch : {size_t{1}, typed->queries.size()})
          EXPECT_TRUE(same_bytes(run(*k, *typed, batch), want))
              << k->name << " " << kv_type_name(type) << " " << d[2] << " batch " << batch;
    }
  }
}

// And the recurrence is attention: against softmax in double.
TEST(AttentionReference, IsSoftmaxOfScores) {
  const auto c = make_case(shape_of(4, 2, 32, 24), {32, 32, 30});
  const Floats got = reference(*c);
  for (size_t t = 0; t < c->queries.size(); t += 13) {
    for (int h = 0; h < 4; ++h) {
      std::vector<double> weight;
      double total = 0;
      for (size_t p = 0; p <= t; ++p) {
        const float* k = keys_of(c->shape, c->pages[p / 32].data, h / 2);
        double s = 0;
        for (int d = 0; d < 32; ++d) {
          s += double{c->queries[t].q[h * 32 + d]} *
               k[static_cast<size_t>(d) * kPageTokens + p % 32];
        }
        weight.push_back(std::exp(s / std::sqrt(32.0)));
        total += weight.back();
      }
      for (int d = 0; d < 24; ++d) {
        double want = 0;
        for (size_t p = 0; p <= t; ++p) {
          want += weight[p] / total *
                  values_of(c->shape, c->pages[p / 32].data,
                            h / 2)[p % 32 * 24 + static_cast<size_t>(d)];
        }
        EXPECT_NEAR(got[(t * 4 + static_cast<size_t>(h)) * 24 + static_cast<size_t>(d)], want,
                    1e-5);
      }
    }
  }
}

}  // namespace
}  // namespace geist::kernels
