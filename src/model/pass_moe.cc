#include <cstring>

#include "base/check.h"
#include "model/pass.h"

namespace geist::model {
namespace {

// The `used` largest of scores[n], best first, ties to the smaller index: a choice that depends on
// nothing but the scores. n and used are small.
void choose_experts(const float* scores, int64_t n, int64_t used, int32_t* choice) {
  for (int64_t rank = 0; rank < used; ++rank) {
    int32_t best = -1;
    for (int32_t e = 0; e < n; ++e) {
      bool taken = false;
      for (int64_t r = 0; r < rank; ++r) taken = taken || choice[r] == e;
      if (!taken && (best < 0 || scores[e] > scores[best])) best = e;
    }
    choice[rank] = best;
  }
}

}  // namespace

// Fills expert_choice[t * used + rank] and weights of the same shape.
void Pass::route(Rows in, const Moe& m, float* weights) {
  const int64_t experts = m.router.outputs(), used = m.used;
  const Rows scores = rows(in.count, experts);
  linear(in, m.router, scores);
  ws_.expert_choice.resize(static_cast<size_t>(in.count * used));
  for (int64_t t = 0; t < in.count; ++t) {
    float* s = scores.row(t);
    float* w = weights + t * used;
    int32_t* choice = ws_.expert_choice.data() + t * used;
    if (m.gating == Gating::kSoftmax) kernels_.softmax(s, experts, s);
    choose_experts(s, experts, used, choice);
    for (int64_t r = 0; r < used; ++r) w[r] = s[choice[r]];
    if (m.gating == Gating::kSoftmaxSelected) kernels_.softmax(w, used, w);
    if (m.normalize) {
      float sum = w[0];
      for (int64_t r = 1; r < used; ++r) sum = sum + w[r];
      for (int64_t r = 0; r < used; ++r) w[r] = w[r] / sum;
    }
    for (int64_t r = 0; r < used; ++r) w[r] = w[r] * m.weights_scale;
  }
}

// Counting sort of the pairs (token, rank) by expert, tokens ascending within an expert.
void Pass::sort_by_expert(int64_t experts) {
  auto& first = ws_.expert_first;
  first.assign(static_cast<size_t>(experts + 1), 0);
  for (const int32_t e : ws_.expert_choice) ++first[static_cast<size_t>(e) + 1];
  for (size_t e = 0; e < static_cast<size_t>(experts); ++e) first[e + 1] += first[e];
  ws_.expert_slot.resize(ws_.expert_choice.size());
  for (size_t i = 0; i < ws_.expert_choice.size(); ++i)
    ws_.expert_slot[i] = first[static_cast<size_t>(ws_.expert_choice[i])]++;
  for (size_t e = static_cast<size_t>(experts); e > 0; --e) first[e] = first[e - 1];
  first[0] = 0;
}

// expert_out[slot] = the expert's output for the pair in that slot.
void Pass::run_experts(Rows in, const Moe& m, Rows expert_out) {
  const int64_t used = m.used, pairs = in.count * used, width = m.up.w.front().rows;
  const Rows x = rows(pairs, in.width), gate = rows(pairs, width), up = rows(pairs, width);
  for_rows(in.count, used * in.width, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * used; i < end * used; ++i)
      std::memcpy(x.row(ws_.expert_slot[static_cast<size_t>(i)]), in.row(i / used),
                  static_cast<size_t>(in.width) * sizeof(float));
  });
  for (int64_t e = 0; e < m.router.outputs(); ++e) {
    const auto at = static_cast<size_t>(e);
    const int64_t begin = ws_.expert_first[at], count = ws_.expert_first[at + 1] - begin;
    if (count == 0) continue;
    const auto part = [&](Rows r) { return Rows{r.row(begin), count, r.width, r.stride}; };
    const kernels::MatmulJob jobs[] = {
        {&m.gate.w[at], m.gate.bias_of(e), gate.row(begin), gate.stride},
        {&m.up.w[at], m.up.bias_of(e), up.row(begin), up.stride}};
    multiply(part(x), jobs);
    activate(m.activation, part(gate), part(up), part(gate));
    const kernels::MatmulJob down{&m.down.w[at], m.down.bias_of(e), expert_out.row(begin),
                                  expert_out.stride};
    multiply(part(gate), {&down, 1});
  }
}

// A single token (decoding): its experts read the same row, so their first products go in one
// region.
void Pass::run_experts_of_one(Rows in, const Moe& m, Rows expert_out) {
  const int64_t used = m.used, width = m.up.w.front().rows;
  const Rows gate = rows(used, width), up = rows(used, width);
  ws_.jobs.clear();
  for (int64_t r = 0; r < used; ++r) {
    const int64_t e = ws_.expert_choice[static_cast<size_t>(r)];
    const auto at = static_cast<size_t>(e);
    ws_.jobs.push_back({&m.gate.w[at], m.gate.bias_of(e), gate.row(r), gate.stride});
    ws_.jobs.push_back({&m.up.w[at], m.up.bias_of(e), up.row(r), up.stride});
  }
  multiply(in, ws_.jobs);
  activate(m.activation, gate, up, gate);
  for (int64_t r = 0; r < used; ++r) {
    const int64_t e = ws_.expert_choice[static_cast<size_t>(r)];
    const int64_t slot = ws_.expert_slot[static_cast<size_t>(r)];
    const kernels::MatmulJob down{&m.down.w[static_cast<size_t>(e)], m.down.bias_of(e),
                                  expert_out.row(slot), expert_out.stride};
    multiply({gate.row(r), 1, width, width}, {&down, 1});
  }
}

void Pass::moe(Rows in, const Moe& m, Rows out) {
  not_on_tape("a mixture of experts");
  const int64_t mark = ws_.mark();
  const int64_t used = m.used;
  float* weights = ws_.take(in.count * used);
  route(in, m, weights);
  sort_by_expert(m.router.outputs());
  const Rows y = rows(in.count * used, out.width);
  in.count == 1 ? run_experts_of_one(in, m, y) : run_experts(in, m, y);
  // Ranks in order, whatever the order in which experts ran.
  for_rows(in.count, used * out.width, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t* slot = ws_.expert_slot.data() + t * used;
      const float* w = weights + t * used;
      kernels_.scale(y.row(slot[0]), w[0], out.width, out.row(t));
      for (int64_t r = 1; r < used; ++r)
        kernels_.add_scaled(out.row(t), y.row(slot[r]), w[r], out.width, out.row(t));
    }
  });
  if (m.shared.up) {
    const Rows shared = rows(in.count, out.width);
    mlp(in, m.shared, shared);
    if (m.shared_gate) {
      const Rows gate = rows(in.count, 1);
      linear(in, m.shared_gate, gate);
      kernels_.sigmoid(gate.data, gate.count, gate.data);
      for (int64_t t = 0; t < in.count; ++t)
        kernels_.add_scaled(out.row(t), shared.row(t), *gate.row(t), out.width, out.row(t));
    } else {
      add({out.data, in.count, out.width, out.stride}, shared);
    }
  }
  ws_.release(mark);
}

}  // namespace geist::model
