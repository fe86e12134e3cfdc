#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "model/pass.h"

namespace geist::model {
namespace {

// A norm over each head of a row, or over the whole of it.
void norm_heads(const kernels::Kernels& k, const Norm& norm, bool whole_row, float* x,
                int64_t heads, int64_t head_length) {
  if (!norm) return;
  if (whole_row) return norm_row(k, norm, norm.weight.data(), x, heads * head_length, x);
  const bool apiece = static_cast<int64_t>(norm.weight.size()) == heads * head_length;
  for (int64_t h = 0; h < heads; ++h) {
    float* head = x + h * head_length;
    norm_row(k, norm, norm.weight.data() + (apiece ? h * head_length : 0), head, head_length, head);
  }
}

// A layer's keys and values in a page of the sequence; null when it has dropped them.
std::byte* layer_data(const KvLayout& layout, const Sequence& sequence, const Page& page,
                      int32_t layer) {
  const KvLayout::Layer& at = layout.layers[static_cast<size_t>(layer)];
  std::byte* part = (at.window ? page.window : page.full).get();
  return part != nullptr ? part + (sequence.one_layer ? 0 : at.offset) : nullptr;
}

// Queries whose heads of one kv head fill a tile of the kernel (96 rows), in eights; fewer where
// that would leave threads without work.
int64_t queries_of_task(int64_t queries, int64_t group, int64_t kv_heads, int64_t threads) {
  constexpr int64_t kTileRows = 96, kTasksPerThread = 4;
  int64_t chunk = std::max<int64_t>(1, kTileRows / group);
  if (chunk > 8) chunk = chunk / 8 * 8;
  while (chunk > 1 && (queries + chunk - 1) / chunk * kv_heads < threads * kTasksPerThread)
    chunk /= 2;
  return chunk;
}

}  // namespace

const Workspace::RopeTable& Pass::rope_table(const RopeFrequencies& f) {
  for (Workspace::RopeTable& table : ws_.rope) {
    if (table.frequencies == &f) return table;
    if (table.frequencies != nullptr) continue;
    table.frequencies = &f;
    table.cos.resize(static_cast<size_t>(tokens() * f.pairs()));
    table.sin.resize(table.cos.size());
    // sin and cos in double cost some tens of float operations.
    for_rows(tokens(), 64 * f.pairs(), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        rope_row(f, batch_[static_cast<size_t>(t)].pos, table.cos.data() + t * f.pairs(),
                 table.sin.data() + t * f.pairs());
    });
    return table;
  }
  GEIST_CHECK(false);  // no architecture has more than two sets
}

void Pass::project_qkv(Rows in, const Attention& a, Rows qkv) {
  if (a.qkv) {
    project(in, a.qkv, qkv);
  } else {
    float* k = qkv.data + a.q.outputs();
    const std::array jobs = {
        kernels::MatmulJob{&a.q.w, data_or_null(a.q.bias), qkv.data, qkv.stride},
        kernels::MatmulJob{&a.k.w, data_or_null(a.k.bias), k, qkv.stride},
        kernels::MatmulJob{&a.v.w, data_or_null(a.v.bias), k + a.k.outputs(), qkv.stride}};
    multiply(in, jobs);
  }
}

// Keys and values of all tokens; queries of the wanted ones, whose rows alone `in` and the residual
// stream keep.
Pass::QueriesAndKeys Pass::project_last(Rows& in, const Attention& a, Rows& residual) {
  const int64_t q_width = int64_t{config_.head_count} * config_.key_length;
  const int64_t kv_width =
      int64_t{config_.head_count_kv} * (config_.key_length + config_.value_length);
  Rows q, kv;
  if (a.qkv) {
    const Rows qkv = rows(q_width + kv_width);
    project(in, a.qkv, qkv);
    q = {qkv.data, qkv.count, q_width, qkv.stride};
    kv = {qkv.data + q_width, qkv.count, kv_width, qkv.stride};
    keep_wanted(q);
  } else {
    kv = rows(kv_width);
    const std::array jobs = {
        kernels::MatmulJob{&a.k.w, data_or_null(a.k.bias), kv.data, kv.stride},
        kernels::MatmulJob{&a.v.w, data_or_null(a.v.bias), kv.data + a.k.outputs(), kv.stride}};
    multiply(in, jobs);
  }
  only_wanted_ = true;
  keep_wanted(in);
  if (&in != &residual) keep_wanted(residual);
  if (!a.qkv) {
    q = rows(in.count, q_width);
    project(in, a.q, q);
  }
  return {q, kv};
}

// Moves them to the front: `wanted` ascends.
void Pass::keep_wanted(Rows& r) {
  int64_t to = 0;
  for (const int64_t from : ws_.wanted) {
    if (from != to)
      std::memcpy(r.row(to), r.row(from), static_cast<size_t>(r.width) * sizeof(float));
    ++to;
  }
  r.count = to;
}

// Clamps, norms and rotates the queries of a token.
void Pass::prepare_queries(const Attention& a, const Workspace::RopeTable* rope, float* q,
                           int64_t token) {
  const int64_t heads = config_.head_count, key = config_.key_length;
  const float limit = config_.clamp_kqv;
  if (limit > 0.0f) kernels_.clamp(q, -limit, limit, heads * key, q);
  norm_heads(kernels_, a.q_norm, a.norm_whole_row, q, heads, key);
  if (rope == nullptr) return;
  const int64_t pairs = rope->frequencies->pairs();
  kernels_.rope(q, heads, key, rope->cos.data() + token * pairs, rope->sin.data() + token * pairs,
                pairs, a.pairing);
}

// The same for its keys, and writes keys and values into its page.
void Pass::prepare_keys(const Attention& a, const Workspace::RopeTable* rope, float* k,
                        int64_t token) {
  const int64_t heads = config_.head_count_kv, key = config_.key_length;
  const float limit = config_.clamp_kqv;
  if (limit > 0.0f) kernels_.clamp(k, -limit, limit, heads * (key + config_.value_length), k);
  norm_heads(kernels_, a.k_norm, a.norm_whole_row, k, heads, key);
  if (rope != nullptr) {
    const int64_t pairs = rope->frequencies->pairs();
    kernels_.rope(k, heads, key, rope->cos.data() + token * pairs, rope->sin.data() + token * pairs,
                  pairs, a.pairing);
  }
  const Workspace::Slot& slot = ws_.slots[static_cast<size_t>(token)];
  const Sequence& sequence = *ws_.sequences[slot.sequence].sequence;
  const KvLayout& layout = config_.kv_layout(sequence.kv_type);
  kernels::kv_store(layout.shape, layer_data(layout, sequence, *slot.page, a.layer), slot.index, k,
                    k + heads * key);
}

// Splits the work by kv head, by chunks of queries and, where that leaves threads idle (decoding
// with few kv heads), by the heads that share a kv head. Each task writes outputs of its own.
void Pass::attend(const Attention& a, Rows q, Rows out) {
  for (const Workspace::SequencePages& s : ws_.sequences) {
    const KvLayout& layout = config_.kv_layout(s.sequence->kv_type);
    for (size_t i = s.first_page; i < s.first_page + s.page_count; ++i)
      ws_.pages[i].data = layer_data(layout, *s.sequence, *ws_.page_headers[i], a.layer);
  }
  ws_.queries.clear();
  int64_t keys = 0;
  for (int64_t i = 0; i < q.count; ++i) {
    const auto t = static_cast<size_t>(only_wanted_ ? ws_.wanted[static_cast<size_t>(i)] : i);
    const BatchToken& token = batch_[t];
    const Workspace::SequencePages& s = ws_.sequences[ws_.slots[t].sequence];
    const int32_t end = config_.causal ? token.pos + 1 : token.sequence->length;
    const int32_t begin = a.window > 0 ? std::max(0, token.pos + 1 - a.window) : 0;
    ws_.queries.push_back({q.row(i), out.row(i), ws_.pages.data() + s.first_page,
                           static_cast<int32_t>(s.page_count), begin, end, token.pos,
                           token.visible_labels});
    keys += end - begin;
  }
  const kernels::AttentionShape shape{.heads = config_.head_count,
                                      .kv_heads = config_.head_count_kv,
                                      .key_dim = config_.key_length,
                                      .value_dim = config_.value_length,
                                      .scale = config_.attention_scale,
                                      .softcap = config_.attention_softcap,
                                      .alibi_slopes = a.alibi_slopes,
                                      .sinks = data_or_null(a.sinks)};
  if (q.count == 0) return;
  const int64_t group = config_.head_count / config_.head_count_kv;
  const int64_t chunk = queries_of_task(q.count, group, config_.head_count_kv, pool_.size());
  const int64_t chunks = (q.count + chunk - 1) / chunk;
  const int64_t parts = std::min(group, (pool_.size() - 1) / (chunks * config_.head_count_kv) + 1);
  const auto task = [&](int64_t i) {
    const int64_t part = i % parts, kv_head = i / parts % config_.head_count_kv;
    const int64_t first = i / parts / config_.head_count_kv * chunk;
    const int64_t begin = group * part / parts, end = group * (part + 1) / parts;
    kernels_.attention(shape, ws_.queries.data() + first, std::min(chunk, q.count - first),
                       kv_head * group + begin, end - begin);
  };
  constexpr int64_t kProductsWorthSplitting = 1 << 17;
  const int64_t tasks = chunks * config_.head_count_kv * parts;
  if (keys * config_.head_count * (config_.key_length + config_.value_length) <
      kProductsWorthSplitting) {
    for (int64_t i = 0; i < tasks; ++i) task(i);
  } else {
    pool_.for_each(tasks, task);
  }
}

void Pass::attention(Rows& in, const Attention& a, Rows& out, Rows& residual) {
  if (!runs()) return;
  const int64_t mark = ws_.mark();
  const int64_t q_width = int64_t{config_.head_count} * config_.key_length;
  const int64_t kv_width =
      int64_t{config_.head_count_kv} * (config_.key_length + config_.value_length);
  const bool last = a.layer + 1 == config_.block_count && tape_ == nullptr &&
                    static_cast<int64_t>(ws_.wanted.size()) < tokens();
  Rows qkv, q, kv;
  if (last) {
    const QueriesAndKeys both = project_last(in, a, residual);
    q = both.queries, kv = both.keys;
  } else {
    qkv = rows(q_width + kv_width);
    project_qkv(in, a, qkv);
    q = {qkv.data, qkv.count, q_width, qkv.stride};
    kv = {qkv.data + q_width, qkv.count, kv_width, qkv.stride};
  }
  const Workspace::RopeTable* rope =
      a.rope != nullptr && a.rope->pairs() > 0 ? &rope_table(*a.rope) : nullptr;
  for_rows(tokens(), q_width + kv_width, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      prepare_keys(a, rope, kv.row(t), t);
      if (!last) prepare_queries(a, rope, q.row(t), t);
    }
  });
  for (int64_t i = 0; last && i < q.count; ++i)
    prepare_queries(a, rope, q.row(i), ws_.wanted[static_cast<size_t>(i)]);
  out.count = q.count;
  const Rows heads = rows(q.count, int64_t{config_.head_count} * config_.value_length);
  attend(a, q, heads);
  project(heads, a.out, out);
  if (tape_ == nullptr) return ws_.release(mark);
  tape_->attention(in, a, qkv, rope != nullptr ? rope->cos.data() : nullptr,
                   rope != nullptr ? rope->sin.data() : nullptr,
                   rope != nullptr ? rope->frequencies->pairs() : 0, heads, out);
  if (!tape_->keeps()) ws_.release(mark);
}

}  // namespace geist::model
