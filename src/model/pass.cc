#include "model/pass.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"

namespace geist::model {

void norm_row(const kernels::Kernels& k, const Norm& norm, const float* weight, const float* in,
              int64_t n, float* out) {
  if (norm.kind == NormKind::kRms) return k.rms_norm(in, weight, norm.eps, n, out);
  k.layer_norm(in, weight, data_or_null(norm.bias), norm.eps, n, out);
}

Pass::Pass(const Model& model, std::span<const BatchToken> batch, Output output,
           Workspace& workspace, ThreadPool& pool, float* out, Tape* tape)
    : config_(model.config()),
      kernels_(model.kernels()),
      batch_(batch),
      output_(output),
      ws_(workspace),
      pool_(pool),
      out_(out),
      tape_(tape) {
  tape_ != nullptr && tape_->repeats() ? ws_.release(0) : ws_.begin();
  for (Workspace::RopeTable& table : ws_.rope) table.frequencies = nullptr;
  ws_.wanted.clear();
  for (int64_t t = 0; t < tokens(); ++t) {
    const BatchToken& token = batch_[static_cast<size_t>(t)];
    GEIST_CHECK(token.id >= 0 && token.id < config_.vocab_size);
    GEIST_CHECK(token.pos >= 0 &&
                (config_.position_limit == 0 || token.pos < config_.position_limit));
    if (token.want_output) ws_.wanted.push_back(t);
  }
  collect_sequences();
  collect_adapters();
}

// Lists the distinct sequences with their pages, and finds each token's place. Tokens of a sequence
// usually stand together, so the look-up starts at the latest sequence.
void Pass::collect_sequences() {
  ws_.sequences.clear();
  ws_.page_headers.clear();
  ws_.pages.clear();
  ws_.slots.clear();
  for (const BatchToken& token : batch_) {
    size_t at = ws_.sequences.size();
    for (size_t i = ws_.sequences.size(); i-- > 0 && at == ws_.sequences.size();)
      if (ws_.sequences[i].sequence == token.sequence) at = i;
    if (at == ws_.sequences.size()) {
      // Window parts that were dropped must be beyond what any token of this pass sees.
      GEIST_CHECK(usable_length(config_, *token.sequence, token.pos) == token.pos);
      const auto& pages = token.sequence->pages;
      ws_.sequences.push_back({token.sequence, ws_.pages.size(), pages.size()});
      for (const auto& page : pages) {
        ws_.page_headers.push_back(page.get());
        ws_.pages.push_back(
            {nullptr, page->count, page->first_pos, page->label, token.sequence->kv_type});
      }
    }
    place_token(token, at);
  }
}

void Pass::place_token(const BatchToken& token, size_t sequence) {
  const auto& pages = token.sequence->pages;
  const auto after =
      std::upper_bound(pages.begin(), pages.end(), token.pos,
                       [](int32_t pos, const auto& page) { return pos < page->first_pos; });
  GEIST_CHECK(after != pages.begin());
  Page& page = **(after - 1);
  const int32_t index = token.pos - page.first_pos;
  GEIST_CHECK(index >= 0 && index < page.count && page.count <= kernels::kPageTokens);
  ws_.slots.push_back({&page, index, sequence});
}

Rows Pass::embed(const Matrix& table) {
  Rows x = rows(table.cols);
  if (!runs()) return x;
  if (tape_ != nullptr) tape_->embed(table, x);
  for_rows(x.count, x.width, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      kernels::matrix_row(table, batch_[static_cast<size_t>(t)].id, x.row(t));
  });
  if (!ws_.adapter_groups.empty()) adapt_embedding(table, x);
  return x;
}

void Pass::add_position_embedding(Rows x, const Matrix& table) {
  if (!runs()) return;
  if (tape_ != nullptr) tape_->add_position_embedding(x, table);
  const int64_t mark = ws_.mark();
  const Rows positions = rows(table.cols);
  for_rows(x.count, x.width, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      kernels::matrix_row(table, batch_[static_cast<size_t>(t)].pos, positions.row(t));
      kernels_.add(x.row(t), positions.row(t), x.width, x.row(t));
    }
  });
  ws_.release(mark);
}

void Pass::add_vector(Rows x, const Vector& v) {
  not_on_tape("an added vector");
  for_rows(x.count, x.width, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) kernels_.add(x.row(t), v.data(), x.width, x.row(t));
  });
}

void Pass::norm(Rows in, const Norm& norm, Rows out) {
  if (!runs()) return;
  if (tape_ != nullptr) tape_->norm(in, norm, out);
  for_rows(in.count, in.width, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      norm_row(kernels_, norm, norm.weight.data(), in.row(t), in.width, out.row(t));
  });
}

void Pass::multiply(Rows in, std::span<const kernels::MatmulJob> jobs) {
  ws_.activations.set(in.data, in.count, in.width, in.stride);
  kernels::matmul(kernels_, pool_, ws_.activations, jobs);
  if (!ws_.adapter_groups.empty()) adapt(in, jobs);
}

void Pass::linear(Rows in, const Linear& linear, Rows out) {
  not_on_tape("a projection of its own");
  project(in, linear, out);
}

void Pass::project(Rows in, const Linear& linear, Rows out) {
  const kernels::MatmulJob job{&linear.w, data_or_null(linear.bias), out.data, out.stride};
  multiply(in, {&job, 1});
}

void Pass::add(Rows x, Rows y) {
  if (!runs()) return;
  if (tape_ != nullptr) tape_->add(x, y);
  for_rows(x.count, x.width, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) kernels_.add(x.row(t), y.row(t), x.width, x.row(t));
  });
}

void Pass::add_scaled(Rows x, Rows y, float factor) {
  not_on_tape("a scaled residual");
  for_rows(x.count, x.width, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      kernels_.add_scaled(x.row(t), y.row(t), factor, x.width, x.row(t));
  });
}

void Pass::scale(Rows x, float factor) {
  not_on_tape("a scaled row");
  for_rows(x.count, x.width, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) kernels_.scale(x.row(t), factor, x.width, x.row(t));
  });
}

void Pass::softcap(Rows x, float cap) {
  if (cap == 0.0f) return;
  not_on_tape("a soft cap");
  for_rows(x.count, x.width, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) kernels_.softcap(x.row(t), cap, x.width, x.row(t));
  });
}

// out = act(gate) * up; without a gate (gate is up) out = act(gate). out may be gate.
void Pass::activate(Activation activation, Rows gate, Rows up, Rows out) {
  // The constants of gpt-oss's SwiGLU.
  constexpr float kOaiAlpha = 1.702f, kOaiLimit = 7.0f;
  const bool gated = gate.data != up.data;
  for_rows(gate.count, gate.width, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float *g = gate.row(t), *u = up.row(t);
      float* y = out.row(t);
      const int64_t n = gate.width;
      if (activation == Activation::kSwigluOai) {
        kernels_.swiglu_oai(g, u, kOaiAlpha, kOaiLimit, n, y);
      } else if (activation == Activation::kSilu) {
        gated ? kernels_.silu_mul(g, u, n, y) : kernels_.silu(g, n, y);
      } else {
        gated ? kernels_.gelu_mul(g, u, n, y) : kernels_.gelu(g, n, y);
      }
    }
  });
}

void Pass::mlp(Rows in, const Mlp& m, Rows out) {
  if (!runs()) return;
  const int64_t mark = ws_.mark();
  const Rows up = rows(in.count, m.up.outputs());
  Rows gate = up, factor = up;  // act(gate) * factor, or act(gate) where they are the same
  if (m.gate) {
    gate = rows(in.count, m.gate.outputs());
    const std::array jobs = {
        kernels::MatmulJob{&m.gate.w, data_or_null(m.gate.bias), gate.data, gate.stride},
        kernels::MatmulJob{&m.up.w, data_or_null(m.up.bias), up.data, up.stride}};
    multiply(in, jobs);
  } else {
    project(in, m.up, up);
    if (m.gate_in_up) {
      const int64_t half = up.width / 2;
      gate = {up.data, up.count, half, up.stride};
      factor = {up.data + half, up.count, half, up.stride};
    }
  }
  // A tape wants what went into the activation, not what came out.
  const int64_t kept = ws_.mark();
  const Rows active = tape_ != nullptr ? rows(in.count, gate.width) : gate;
  activate(m.activation, gate, factor, active);
  project(active, m.down, out);
  if (tape_ == nullptr) return ws_.release(mark);
  ws_.release(kept);
  tape_->mlp(in, m, gate.data != factor.data ? gate : Rows{}, factor, out);
  if (!tape_->keeps()) ws_.release(mark);
}

Rows Pass::output(Rows x, const Norm& final_norm, const Linear* head) {
  if (!runs()) return {};
  const auto count = static_cast<int64_t>(ws_.wanted.size());
  const bool logits = output_ == Output::kLogits;
  GEIST_CHECK(!logits || head != nullptr);
  if (tape_ != nullptr) tape_->output(x, ws_.wanted, final_norm, head);
  // Hidden states go straight to the caller, rows for the head into scratch.
  const Rows hidden{logits ? ws_.take(count * x.width) : out_, count, x.width, x.width};
  for_rows(count, x.width, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* row = x.row(only_wanted_ ? i : ws_.wanted[static_cast<size_t>(i)]);
      if (final_norm) {
        norm_row(kernels_, final_norm, final_norm.weight.data(), row, x.width, hidden.row(i));
      } else {
        std::memcpy(hidden.row(i), row, static_cast<size_t>(x.width) * sizeof(float));
      }
    }
  });
  if (!logits) return {};
  const Rows out{out_, count, head->outputs(), head->outputs()};
  if (count > 0) project(hidden, *head, out);
  return out;
}

}  // namespace geist::model
