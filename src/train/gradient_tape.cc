#include "train/gradient_tape.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace geist::train {

using model::Rows;

namespace {

Rows rows_in(model::Workspace& workspace, int64_t count, int64_t width) {
  return {workspace.take(count * width), count, width, width};
}

}  // namespace

GradientTape::GradientTape(const TrainedModel& trained, const ActivationOptions& activations,
                           ThreadPool& pool)
    : trained_(trained),
      k_(trained.model().kernels()),
      g_(*kernels::grad_kernels_for(k_.isa)),
      pool_(pool),
      options_(activations) {}

void GradientTape::begin(std::span<const model::BatchToken> batch,
                         std::span<const SequenceRows> sequences, model::Workspace& workspace) {
  memory_.begin();
  gradient_memory_.begin();
  workspace_ = &workspace;
  batch_ = batch;
  sequences_ = sequences;
  operations_.clear();
  layers_.clear();
  written_.clear();
  next_ = 0;
  gradients_.clear();
  refused_.clear();
  head_ = nullptr;
}

Status GradientTape::status() const {
  if (refused_.empty()) return {};
  const model::Config& config = trained_.model().config();
  return errorf(
      "architecture '%s' cannot be trained: its gradient needs %s, which is not there yet",
      config.architecture.c_str(), refused_.c_str());
}

void GradientTape::refuse(const std::string& what) {
  if (refused_.empty()) refused_ = what;
}

// ---- what is kept of a pass, and running parts of it again

bool GradientTape::runs() {
  const size_t at = next_++;
  return repeat_ == nullptr || (at >= repeat_->first && at < repeat_end_);
}

bool GradientTape::keeps() const {
  return repeats() || (!options_.recompute && options_.type == kernels::TensorType::kF32);
}

KeptRows GradientTape::keep(Rows rows) {
  const bool later = options_.recompute && !repeats();
  if (later || rows.data == nullptr) return {};
  const auto type = repeats() ? kernels::TensorType::kF32 : options_.type;
  return KeptRows::copy(rows, type, memory_, pool_);
}

KeptRows GradientTape::keep_inner(Rows rows) {
  return keeps() && rows.data != nullptr ? KeptRows::view(rows) : keep(rows);
}

// Of the operation whose turn it is; one that runs again replaces itself.
void GradientTape::record(Operation operation) {
  const size_t at = next_ - 1;
  if (at < operations_.size()) {
    operations_[at] = std::move(operation);
  } else {
    operations_.push_back(std::move(operation));
  }
}

bool GradientTape::begins_layer() const {
  if (layers_.empty()) return true;
  bool attention = false, mlp = false;
  for (size_t i = layers_.back().first; i < operations_.size(); ++i) {
    attention |= std::holds_alternative<AttentionOp>(operations_[i]);
    mlp |= std::holds_alternative<MlpOp>(operations_[i]);
  }
  return attention && mlp;
}

void GradientTape::reads(Rows rows) {
  if (options_.recompute && !repeats() && written_.count(rows.data) == 0)
    refuse("to run layers again that read more than their input (train.recompute)");
}

void GradientTape::run_again(const Layer& layer, size_t end) {
  memory_.release(kept_);
  next_ = 0;
  repeat_ = &layer;
  repeat_end_ = end;
  trained_.model().forward(batch_, model::Output::kHidden, *workspace_, pool_, nullptr, this);
  repeat_ = nullptr;
}

// ---- what a pass tells

void GradientTape::other(const char* operation) { refuse(operation); }

void GradientTape::embed(const model::Matrix& table, Rows x) { record(Embed{&table, x}); }

void GradientTape::add_position_embedding(Rows x, const model::Matrix& table) {
  record(Positions{&table, x});
}

void GradientTape::norm(Rows in, const model::Norm& norm, Rows out) {
  if (in.data == out.data) return refuse("a norm in place");
  if (repeats() && next_ - 1 == repeat_->first) {
    repeat_->input.read(in, pool_);
    return record(NormOp{&norm, repeat_->input, in, out});
  }
  if (options_.recompute && !repeats() && begins_layer()) {
    if (!layers_.empty()) reads(in);
    layers_.push_back({next_ - 1, KeptRows::copy(in, options_.type, memory_, pool_)});
    written_ = {in.data};
  }
  reads(in);
  writes(out);
  record(NormOp{&norm, keep(in), in, out});
}

void GradientTape::add(Rows x, Rows y) {
  reads(x);
  reads(y);
  record(Add{x, y});
}

void GradientTape::output(Rows x, std::span<const int64_t> wanted, const model::Norm& norm,
                          const model::Linear* head) {
  if (!norm) return refuse("an output without a norm");
  reads(x);
  head_ = head;
  const KeptRows kept = KeptRows::copy(x, options_.type, memory_, pool_);
  record(Output{&norm, kept, x, {wanted.begin(), wanted.end()}});
}

bool GradientTape::trains(const model::Attention& a) {
  const model::Config& config = trained_.model().config();
  if (a.q_norm || a.k_norm) refuse("norms of queries and keys");
  if (a.alibi_slopes != nullptr) refuse("ALiBi");
  if (!a.sinks.empty()) refuse("attention sinks");
  if (config.clamp_kqv > 0) refuse("clamped projections");
  if (config.attention_softcap > 0) refuse("capped scores");
  if (!config.causal) refuse("attention in both directions");
  return refused_.empty();
}

void GradientTape::attention(Rows in, const model::Attention& a, Rows qkv, const float* cos,
                             const float* sin, int64_t pairs, Rows heads, Rows out) {
  if (!trains(a)) return;
  reads(in);
  writes(out);
  record(AttentionOp{&a, keep(in), keep_inner(qkv), keep_inner(heads), in, out, cos, sin, pairs});
}

void GradientTape::mlp(Rows in, const model::Mlp& m, Rows gate, Rows up, Rows out) {
  if (m.activation == model::Activation::kSwigluOai) return refuse("gpt-oss's activation");
  reads(in);
  writes(out);
  record(MlpOp{&m, keep(in), keep_inner(gate), keep_inner(up), in, out});
}

// ---- and backwards

void GradientTape::backward(float* dhidden, float* gradient, float* lookup_gradient,
                            const FinalFrom& final_from) {
  GEIST_CHECK(refused_.empty());
  dhidden_ = dhidden;
  gradient_ = gradient;
  lookup_gradient_ = lookup_gradient;
  std::vector<int64_t> ends(operations_.size() + 1);  // of what the operations before i add to
  for (size_t i = 0; final_from && i < operations_.size(); ++i)
    ends[i + 1] = std::max(ends[i], end_of(operations_[i]));
  kept_ = memory_.mark();
  size_t again = operations_.size() - 1;  // operations of layers from here on have run again
  for (size_t i = operations_.size(); i-- > 0;) {
    if (!layers_.empty() && i < again && i >= layers_.back().first) {
      run_again(layers_.back(), again);
      again = layers_.back().first;
      layers_.pop_back();
    }
    scratch_.begin();
    std::visit([this](const auto& op) { back(op); }, operations_[i]);
    if (final_from && ends[i] < ends[i + 1]) final_from(ends[i]);
  }
}

int64_t GradientTape::end_of(const Operation& operation) const {
  int64_t offset = 0;
  if (const auto* embed = std::get_if<Embed>(&operation)) {
    offset = trained_.offset_of(*embed->table);
  } else if (const auto* positions = std::get_if<Positions>(&operation)) {
    offset = trained_.offset_of(*positions->table);
  } else if (const auto* norm = std::get_if<NormOp>(&operation)) {
    offset = trained_.offset_of(norm->norm->weight);
  } else if (const auto* output = std::get_if<Output>(&operation)) {
    offset = trained_.offset_of(output->norm->weight);
  } else if (const auto* attention = std::get_if<AttentionOp>(&operation)) {
    offset = trained_.offset_of(attention->attention->out.w);
  } else if (const auto* mlp = std::get_if<MlpOp>(&operation)) {
    offset = trained_.offset_of(mlp->mlp->down.w);
  } else {
    return 0;
  }
  return trained_.end_of_layer(offset);
}

GradientTape::Gradient& GradientTape::gradient_of(Rows rows) {
  Gradient& gradient = gradients_[rows.data];
  if (gradient.rows.data == nullptr)
    gradient.rows = rows_in(gradient_memory_, rows.count, rows.width);
  GEIST_CHECK(gradient.rows.width == rows.width && gradient.rows.count == rows.count);
  return gradient;
}

void GradientTape::make_live(Gradient& gradient) {
  if (gradient.live) return;
  gradient.live = true;
  const Rows& rows = gradient.rows;
  for_rows(rows.count, [&](int64_t t) {
    std::memset(rows.row(t), 0, static_cast<size_t>(rows.width) * sizeof(float));
  });
}

void GradientTape::back(const Output& op) {
  const auto count = static_cast<int64_t>(op.wanted.size());
  const Rows dy{dhidden_, count, op.x.width, op.x.width};
  Gradient& dx = gradient_of(op.in);
  make_live(dx);
  take_back_norm(*op.norm, rows_of(op.x), op.wanted.data(), dy, dx);
}

void GradientTape::back(const NormOp& op) {
  Gradient& dy = gradient_of(op.out);
  if (!dy.live) return;
  dy.live = false;
  Gradient& dx = gradient_of(op.in);
  make_live(dx);
  take_back_norm(*op.norm, rows_of(op.x), nullptr, dy.rows, dx);
}

void GradientTape::take_back_norm(const model::Norm& norm, Rows x, const int64_t* row, Rows dy,
                                  Gradient& dx) {
  const auto kernel =
      norm.kind == model::NormKind::kRms ? g_.rms_norm_backward : g_.layer_norm_backward;
  stats_.resize(static_cast<size_t>(dy.count));
  for_rows(dy.count, [&](int64_t i) {
    const int64_t t = row != nullptr ? row[i] : i;
    stats_[static_cast<size_t>(i)] =
        kernel(x.row(t), norm.weight.data(), dy.row(i), norm.eps, x.width, dx.rows.row(t));
  });
  if (trained_.offset_of(norm.weight) == TrainedModel::kFrozen) return;
  float* dweight = gradient_ + trained_.offset_of(norm.weight);
  float* dbias = norm.bias.empty() ? nullptr : gradient_ + trained_.offset_of(norm.bias);
  pool_.for_ranges(x.width, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < dy.count; ++i) {
      const int64_t t = row != nullptr ? row[i] : i;
      g_.norm_weight_backward(x.row(t) + begin, dy.row(i) + begin, stats_[static_cast<size_t>(i)],
                              end - begin, dweight + begin,
                              dbias != nullptr ? dbias + begin : nullptr);
    }
  });
}

void GradientTape::back(const Add& op) {
  Gradient& to = gradient_of(op.to);
  if (!to.live) return;
  Gradient& from = gradient_of(op.from);
  const bool accumulate = from.live;
  from.live = true;
  for_rows(to.rows.count, [&](int64_t t) {
    if (accumulate) {
      k_.add(from.rows.row(t), to.rows.row(t), to.rows.width, from.rows.row(t));
    } else {
      std::memcpy(from.rows.row(t), to.rows.row(t),
                  static_cast<size_t>(to.rows.width) * sizeof(float));
    }
  });
}

void GradientTape::take_back_linear(const model::Linear& linear, Rows x, const float* dy,
                                    int64_t dy_stride, Gradient& dx) {
  const kernels::LinearGradient g{x.count, linear.outputs(), linear.w.cols, dy, dy_stride};
  kernels::input_gradient(g_, pool_, g, linear.w, panel_, dx.rows.data, dx.rows.stride, dx.live);
  dx.live = true;
  const int64_t dw = trained_.offset_of(linear.w);
  if (dw != TrainedModel::kFrozen)
    kernels::weight_gradient(g_, pool_, g, x.data, x.stride, gradient_ + dw);
  const int64_t dbias =
      linear.bias.empty() ? TrainedModel::kFrozen : trained_.offset_of(linear.bias);
  if (dbias != TrainedModel::kFrozen) kernels::bias_gradient(k_, pool_, g, gradient_ + dbias);
  take_back_adapters(linear.w, x, g, dx);
}

void GradientTape::take_back_adapters(const kernels::Matrix& w, Rows x,
                                      const kernels::LinearGradient& g, Gradient& dx) {
  if (trained_.adapters() == nullptr) return;
  for (const model::AdapterSet::Member& member : trained_.adapters()->members()) {
    const model::LoraPair* pair = member.adapter->find(&w);
    if (pair == nullptr) continue;
    const int64_t rank = pair->rank();
    const float factor = model::lora_factor(*pair, member.scale);
    const Rows low = rows_in(scratch_, x.count, rank), dlow = rows_in(scratch_, x.count, rank);
    activations_.set(x.data, x.count, x.width, x.stride);
    const kernels::MatmulJob job{&pair->a, nullptr, low.data, rank};
    kernels::matmul(k_, pool_, activations_, {&job, 1});
    k_.scale(low.data, factor, x.count * rank, low.data);
    const kernels::LinearGradient outer{g.tokens, g.rows, rank, g.dy, g.dy_stride};
    kernels::weight_gradient(g_, pool_, outer, low.data, rank,
                             gradient_ + trained_.offset_of(pair->b));
    kernels::input_gradient(g_, pool_, outer, pair->b, panel_, dlow.data, rank, false);
    k_.scale(dlow.data, factor, x.count * rank, dlow.data);
    const kernels::LinearGradient inner{g.tokens, rank, x.width, dlow.data, rank};
    kernels::weight_gradient(g_, pool_, inner, x.data, x.stride,
                             gradient_ + trained_.offset_of(pair->a));
    kernels::input_gradient(g_, pool_, inner, pair->a, panel_, dx.rows.data, dx.rows.stride, true);
  }
}

// The activation's output, in scratch memory.
Rows GradientTape::activate_again(const MlpOp& op, Rows gate, Rows up) {
  const bool silu = op.mlp->activation == model::Activation::kSilu;
  const Rows active = rows_in(scratch_, up.count, up.width);
  for_rows(up.count, [&](int64_t t) {
    if (gate.data != nullptr) {
      (silu ? k_.silu_mul : k_.gelu_mul)(gate.row(t), up.row(t), up.width, active.row(t));
    } else {
      (silu ? k_.silu : k_.gelu)(up.row(t), up.width, active.row(t));
    }
  });
  return active;
}

void GradientTape::back(const MlpOp& op) {
  Gradient& dy = gradient_of(op.out);
  if (!dy.live) return;
  dy.live = false;
  Gradient& dx = gradient_of(op.in);
  const model::Mlp& m = *op.mlp;
  const bool gated = op.gate.data != nullptr;
  const Rows x = rows_of(op.x), up = rows_of(op.up), gate = gated ? rows_of(op.gate) : Rows{};
  const int64_t n = up.width, count = x.count;
  const bool silu = m.activation == model::Activation::kSilu;
  // The activation's output again, and where its gradient becomes that of what went in: two halves
  // of one row where gate and up are one matrix.
  Gradient dactive{rows_in(scratch_, count, n)};
  take_back_linear(m.down, activate_again(op, gate, up), dy.rows.data, dy.rows.stride, dactive);
  const Rows both = rows_in(scratch_, count, gated ? 2 * n : n);
  for_rows(count, [&](int64_t t) {
    const float* d = dactive.rows.row(t);
    float* out = both.row(t);
    if (gated) {
      (silu ? g_.silu_mul_backward : g_.gelu_mul_backward)(gate.row(t), up.row(t), d, n, out,
                                                           out + n);
    } else {
      (silu ? g_.silu_backward : g_.gelu_backward)(up.row(t), d, n, out);
    }
  });
  if (m.gate) {
    take_back_linear(m.gate, x, both.data, both.stride, dx);
    take_back_linear(m.up, x, both.data + n, both.stride, dx);
  } else {
    take_back_linear(m.up, x, both.data, both.stride, dx);
  }
}

void GradientTape::rotate_back(const AttentionOp& op, Rows dqkv) {
  if (op.pairs == 0) return;
  const model::Config& c = trained_.model().config();
  const Rows back_sin = rows_in(scratch_, dqkv.count, op.pairs);
  for_rows(dqkv.count, [&](int64_t t) {
    k_.scale(op.sin + t * op.pairs, -1.0f, op.pairs, back_sin.row(t));
    float* q = dqkv.row(t);
    const float* cos = op.cos + t * op.pairs;
    const auto pairing = op.attention->pairing;
    k_.rope(q, c.head_count, c.key_length, cos, back_sin.row(t), op.pairs, pairing);
    k_.rope(q + int64_t{c.head_count} * c.key_length, c.head_count_kv, c.key_length, cos,
            back_sin.row(t), op.pairs, pairing);
  });
}

void GradientTape::back(const AttentionOp& op) {
  Gradient& dy = gradient_of(op.out);
  if (!dy.live) return;
  dy.live = false;
  Gradient& dx = gradient_of(op.in);
  const model::Config& c = trained_.model().config();
  const model::Attention& a = *op.attention;
  const Rows x = rows_of(op.x), qkv = rows_of(op.qkv), heads = rows_of(op.heads);
  Gradient dheads{rows_in(scratch_, heads.count, heads.width)};
  take_back_linear(a.out, heads, dy.rows.data, dy.rows.stride, dheads);
  const Rows dqkv = rows_in(scratch_, qkv.count, qkv.width);
  const AttentionDims dims{c.head_count,   c.head_count_kv,   c.key_length,
                           c.value_length, c.attention_scale, a.window};
  attention_backward(k_, g_, pool_, dims,
                     {qkv.data, qkv.stride, heads.data, dheads.rows.data, heads.stride,
                      dheads.rows.stride, dqkv.data},
                     sequences_);
  rotate_back(op, dqkv);
  if (a.qkv) return take_back_linear(a.qkv, x, dqkv.data, dqkv.stride, dx);
  const float* dk = dqkv.data + a.q.outputs();
  take_back_linear(a.q, x, dqkv.data, dqkv.stride, dx);
  take_back_linear(a.k, x, dk, dqkv.stride, dx);
  take_back_linear(a.v, x, dk + a.k.outputs(), dqkv.stride, dx);
}

void GradientTape::add_rows_to_table(const model::Matrix& table, Rows dx, bool by_position) {
  if (trained_.offset_of(table) == TrainedModel::kFrozen) return;
  const bool shared = head_ != nullptr && head_->w.data == table.data;
  float* to = shared ? lookup_gradient_ : gradient_ + trained_.offset_of(table);
  pool_.for_ranges(dx.width, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < dx.count; ++t) {
      const model::BatchToken& token = batch_[static_cast<size_t>(t)];
      float* row = to + (by_position ? token.pos : token.id) * table.cols + begin;
      k_.add(row, dx.row(t) + begin, end - begin, row);
    }
  });
}

void GradientTape::back(const Positions& op) {
  const Gradient& dx = gradient_of(op.out);
  if (dx.live) add_rows_to_table(*op.table, dx.rows, true);
}

void GradientTape::back(const Embed& op) {
  Gradient& dx = gradient_of(op.out);
  if (dx.live) add_rows_to_table(*op.table, dx.rows, false);
  dx.live = false;
}

}  // namespace geist::train
