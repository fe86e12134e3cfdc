// What adapters add to a product or to an embedding. Rows of the batch are grouped by adapter set;
// every operation is a row's own, so grouping changes no bit. For each adapter of the set in order:
//   low = A x        [rank]      the order of float products
//   d   = B low      [outputs]   the same
//   y   = fma(d, f32(scale * alpha / rank), y)
// Traffic: A and B are read once a group; d stays in the L1 cache.
#include <algorithm>

#include "base/check.h"
#include "model/lora.h"
#include "model/pass.h"

namespace geist::model {
namespace {

constexpr int64_t kBlockRows = 64, kBlockTokens = 32;  // of d
constexpr int64_t kProductsWorthSplitting = 1 << 16;

// y(i)[first .. first + n) += factor * (B low)[first .. first + n) for i in [0, count).
template <typename RowOf>
void add_product(const kernels::Kernels& k, const LoraPair& pair, float factor, const float* low,
                 int64_t first, int64_t n, int64_t count, RowOf&& y) {
  alignas(64) float d[kBlockRows * kBlockTokens];
  const int64_t rank = pair.rank(), stride = *kernels::row_bytes(pair.b.type, rank);
  for (int64_t i = 0; i < count; i += kBlockTokens) {
    const int64_t tokens = std::min(kBlockTokens, count - i);
    k.matmul_float(pair.b.type, pair.b.data + first * stride, stride, n, rank, low + i * rank, rank,
                   tokens, d, kBlockRows);
    for (int64_t t = 0; t < tokens; ++t) {
      float* to = y(i + t) + first;
      k.add_scaled(to, d + t * kBlockRows, factor, n, to);
    }
  }
}

}  // namespace

void Pass::collect_adapters() {
  ws_.adapter_groups.clear();
  for (int64_t t = 0; t < tokens(); ++t) {
    const AdapterSet* set = batch_[static_cast<size_t>(t)].adapters;
    if (set == nullptr || set->members().empty()) continue;
    auto group = std::find_if(ws_.adapter_groups.begin(), ws_.adapter_groups.end(),
                              [&](const auto& g) { return g.set == set; });
    if (group == ws_.adapter_groups.end())
      group = ws_.adapter_groups.insert(group, {.set = set, .tokens = {}, .wanted = {}});
    group->tokens.push_back(t);
    if (batch_[static_cast<size_t>(t)].want_output) {
      const auto at = std::lower_bound(ws_.wanted.begin(), ws_.wanted.end(), t);
      group->wanted.push_back(at - ws_.wanted.begin());
    }
  }
}

// The rows of a product are the batch's tokens, or those whose output is wanted; experts, whose
// rows are others, have no adapters.
void Pass::adapt(Rows in, std::span<const kernels::MatmulJob> jobs) {
  for (const Workspace::AdapterGroup& group : ws_.adapter_groups) {
    ws_.adapter_terms.clear();
    for (size_t j = 0; j < jobs.size(); ++j)
      for (const AdapterSet::Member& member : group.set->members())
        if (const LoraPair* pair = member.adapter->find(jobs[j].w))
          ws_.adapter_terms.push_back({j, pair, lora_factor(*pair, member.scale), nullptr});
    if (ws_.adapter_terms.empty()) continue;
    const bool all = in.count == tokens();
    GEIST_CHECK(all || in.count == static_cast<int64_t>(ws_.wanted.size()));
    add_adapters(in, jobs, all ? group.tokens : group.wanted);
  }
}

// The terms of ws_.adapter_terms for these rows.
void Pass::add_adapters(Rows in, std::span<const kernels::MatmulJob> jobs,
                        std::span<const int64_t> rows) {
  const auto count = static_cast<int64_t>(rows.size());
  if (count == 0) return;
  const int64_t mark = ws_.mark();
  Rows x = in;
  if (count != in.count) {
    x = {ws_.take(count * in.width), count, in.width, in.width};
    for (int64_t i = 0; i < count; ++i)
      std::copy_n(in.row(rows[static_cast<size_t>(i)]), in.width, x.row(i));
  }
  ws_.adapter_jobs.clear();
  for (Workspace::AdapterTerm& term : ws_.adapter_terms) {
    const int64_t rank = term.pair->rank();
    term.low = ws_.take(count * rank);
    ws_.adapter_jobs.push_back({&term.pair->a, nullptr, term.low, rank});
  }
  ws_.activations.set(x.data, count, x.width, x.stride);
  kernels::matmul(kernels_, pool_, ws_.activations, ws_.adapter_jobs);

  const auto& terms = ws_.adapter_terms;
  int64_t products = 0;
  ws_.adapter_blocks.clear();  // blocks of rows of a matrix, with the terms that it gets
  for (size_t begin = 0, end = 0; begin < terms.size(); begin = end) {
    while (end < terms.size() && terms[end].job == terms[begin].job)
      products += terms[end].pair->b.rows * terms[end].pair->rank() * count, ++end;
    for (int64_t row = 0; row < terms[begin].pair->b.rows; row += kBlockRows)
      ws_.adapter_blocks.push_back({begin, end, row});
  }
  const auto block = [&](int64_t i) {
    const Workspace::AdapterBlock& b = ws_.adapter_blocks[static_cast<size_t>(i)];
    const kernels::MatmulJob& job = jobs[terms[b.begin].job];
    const int64_t n = std::min(kBlockRows, job.w->rows - b.row);
    for (size_t term = b.begin; term < b.end; ++term)
      add_product(kernels_, *terms[term].pair, terms[term].factor, terms[term].low, b.row, n, count,
                  [&](int64_t t) { return job.y + rows[static_cast<size_t>(t)] * job.y_stride; });
  };
  const auto blocks = static_cast<int64_t>(ws_.adapter_blocks.size());
  if (products < kProductsWorthSplitting) {
    for (int64_t i = 0; i < blocks; ++i) block(i);
  } else {
    pool_.for_each(blocks, block);
  }
  ws_.release(mark);
}

// Token embeddings: row `id` of A is what A x is elsewhere.
void Pass::adapt_embedding(const Matrix& table, Rows x) {
  for (const Workspace::AdapterGroup& group : ws_.adapter_groups)
    for (const AdapterSet::Member& member : group.set->members()) {
      const LoraPair* pair = member.adapter->find(&table);
      if (pair == nullptr) continue;
      not_on_tape("an adapter of the embedding");
      const int64_t mark = ws_.mark(), rank = pair->rank();
      float* low = ws_.take(rank);
      for (const int64_t t : group.tokens) {
        kernels::matrix_row(pair->a, batch_[static_cast<size_t>(t)].id, low);
        for (int64_t row = 0; row < x.width; row += kBlockRows)
          add_product(kernels_, *pair, lora_factor(*pair, member.scale), low, row,
                      std::min(kBlockRows, x.width - row), 1, [&](int64_t) { return x.row(t); });
      }
      ws_.release(mark);
    }
}

}  // namespace geist::model
