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

// A layer's keys and values in a page; null when the sequence has dropped them.
std::byte* layer_data(const KvLayout& layout, const Page& page, int32_t layer) {
  const KvLayout::Layer& at = layout.layers[static_cast<size_t>(layer)];
  std::byte* part = (at.window ? page.window : page.full).get();
  return part != nullptr ? part + at.offset : nullptr;
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

// Norms and rotates a token's queries and keys, and writes its keys and values into its page.
void Pass::prepare_token(const Attention& a, const Workspace::RopeTable* rope, Rows qkv,
                         int64_t t) {
  const int64_t heads = config_.head_count, kv_heads = config_.head_count_kv;
  const int64_t key = config_.key_length;
  float* q = qkv.row(t);
  float* k = q + heads * key;
  const float* v = k + kv_heads * key;
  if (config_.clamp_kqv > 0.0f)
    kernels_.clamp(q, -config_.clamp_kqv, config_.clamp_kqv, qkv.width, q);
  norm_heads(kernels_, a.q_norm, a.norm_whole_row, q, heads, key);
  norm_heads(kernels_, a.k_norm, a.norm_whole_row, k, kv_heads, key);
  if (rope != nullptr) {
    const int64_t pairs = rope->frequencies->pairs();
    const float *cos = rope->cos.data() + t * pairs, *sin = rope->sin.data() + t * pairs;
    kernels_.rope(q, heads, key, cos, sin, pairs, a.pairing);
    kernels_.rope(k, kv_heads, key, cos, sin, pairs, a.pairing);
  }
  const Workspace::Slot& slot = ws_.slots[static_cast<size_t>(t)];
  const KvLayout& layout = config_.kv_layout(ws_.sequences[slot.sequence].sequence->kv_type);
  kernels::kv_store(layout.shape, layer_data(layout, *slot.page, a.layer), slot.index, k, v);
}

// Splits the work by kv head, by chunks of queries and, where that leaves threads idle (decoding
// with few kv heads), by the heads that share a kv head. Each task writes outputs of its own.
void Pass::attend(const Attention& a, Rows qkv, Rows out) {
  for (const Workspace::SequencePages& s : ws_.sequences) {
    const KvLayout& layout = config_.kv_layout(s.sequence->kv_type);
    for (size_t i = s.first_page; i < s.first_page + s.page_count; ++i)
      ws_.pages[i].data = layer_data(layout, *ws_.page_headers[i], a.layer);
  }
  ws_.queries.clear();
  int64_t keys = 0;
  for (int64_t t = 0; t < tokens(); ++t) {
    const BatchToken& token = batch_[static_cast<size_t>(t)];
    const Workspace::SequencePages& s = ws_.sequences[ws_.slots[static_cast<size_t>(t)].sequence];
    const int32_t end = config_.causal ? token.pos + 1 : token.sequence->length;
    const int32_t begin = a.window > 0 ? std::max(0, token.pos + 1 - a.window) : 0;
    ws_.queries.push_back({qkv.row(t), out.row(t), ws_.pages.data() + s.first_page,
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
  constexpr int64_t kChunk = 16;
  const int64_t chunks = (tokens() + kChunk - 1) / kChunk;
  const int64_t group = config_.head_count / config_.head_count_kv;
  const int64_t parts = std::min(group, (pool_.size() - 1) / (chunks * config_.head_count_kv) + 1);
  const auto task = [&](int64_t i) {
    const int64_t part = i % parts, kv_head = i / parts % config_.head_count_kv;
    const int64_t first = i / parts / config_.head_count_kv * kChunk;
    const int64_t begin = group * part / parts, end = group * (part + 1) / parts;
    kernels_.attention(shape, ws_.queries.data() + first, std::min(kChunk, tokens() - first),
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

void Pass::attention(Rows in, const Attention& a, Rows out) {
  const int64_t mark = ws_.mark();
  const int64_t width =
      int64_t{config_.head_count} * config_.key_length +
      int64_t{config_.head_count_kv} * (config_.key_length + config_.value_length);
  const Rows qkv = rows(width);
  const Rows heads = rows(int64_t{config_.head_count} * config_.value_length);
  project_qkv(in, a, qkv);
  const Workspace::RopeTable* rope =
      a.rope != nullptr && a.rope->pairs() > 0 ? &rope_table(*a.rope) : nullptr;
  for_rows(tokens(), width, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) prepare_token(a, rope, qkv, t);
  });
  attend(a, qkv, heads);
  project(heads, a.out, out);
  if (tape_ == nullptr) return ws_.release(mark);
  tape_->attention(in, a, qkv, rope != nullptr ? rope->cos.data() : nullptr,
                   rope != nullptr ? rope->sin.data() : nullptr,
                   rope != nullptr ? rope->frequencies->pairs() : 0, heads, out);
}

}  // namespace geist::model
