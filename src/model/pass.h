// One forward pass in flight: the operations that architectures are written in. Every operation
// works on each token's row alone (attention reads the token's own sequence), in an order that does
// not depend on the batch or on threads: see docs/numerics.md.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>

#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "model/blocks.h"
#include "model/model.h"
#include "model/tape.h"
#include "model/workspace.h"

namespace geist::model {

// Rows of scratch memory, one a token.
struct Rows {
  float* data = nullptr;
  int64_t count = 0;
  int64_t width = 0;
  int64_t stride = 0;  // floats from row to row
  float* row(int64_t i) const { return data + i * stride; }
};

// One row; weight stands for norm.weight, which may hold several.
void norm_row(const kernels::Kernels& kernels, const Norm& norm, const float* weight,
              const float* in, int64_t n, float* out);

class Pass {
 public:
  // tape: null, or who is told of every operation.
  Pass(const Model& model, std::span<const BatchToken> batch, Output output, Workspace& workspace,
       ThreadPool& pool, float* out, Tape* tape = nullptr);

  const Config& config() const { return config_; }
  int64_t tokens() const { return static_cast<int64_t>(batch_.size()); }

  // Scratch rows for all tokens; embedding_length wide unless stated.
  Rows rows() { return rows(config_.embedding_length); }
  Rows rows(int64_t width) { return rows(tokens(), width); }

  // The batch's rows of the token embedding table; of a table indexed by position, added to x.
  Rows embed(const Matrix& table);
  void add_position_embedding(Rows x, const Matrix& table);
  void add_vector(Rows x, const Vector& v);

  // out may be in.
  void norm(Rows in, const Norm& norm, Rows out);
  void linear(Rows in, const Linear& linear, Rows out);
  void add(Rows x, Rows y);                       // x += y
  void add_scaled(Rows x, Rows y, float factor);  // x += factor * y, rounded once
  void scale(Rows x, float factor);
  void softcap(Rows x, float cap);  // cap 0: nothing

  // Of the last layer nothing is needed behind its keys and values but the wanted tokens: from
  // there on in, out and the residual stream hold these tokens' rows only (not with a tape).
  void attention(Rows& in, const Attention& attention, Rows& out, Rows& residual);
  void mlp(Rows in, const Mlp& mlp, Rows out);
  void moe(Rows in, const Moe& moe, Rows out);

  // The end of a pass: the final norm (when it has weights) over the wanted rows of x and, when
  // logits were asked for, the output head, all into the caller's memory. The rows returned are the
  // logits, for an architecture that scales or caps them; none when hidden states were asked for.
  Rows output(Rows x, const Norm& norm, const Linear* head);

 private:
  Rows rows(int64_t count, int64_t width) { return {ws_.take(count * width), count, width, width}; }
  void collect_sequences();
  void place_token(const BatchToken& token, size_t sequence);
  const Workspace::RopeTable& rope_table(const RopeFrequencies& frequencies);
  void project_qkv(Rows in, const Attention& a, Rows qkv);
  struct QueriesAndKeys {
    Rows queries, keys;  // keys of all tokens, with their values behind
  };
  QueriesAndKeys project_last(Rows& in, const Attention& a, Rows& residual);
  void keep_wanted(Rows& rows);
  void prepare_queries(const Attention& a, const Workspace::RopeTable* rope, float* q,
                       int64_t token);
  void prepare_keys(const Attention& a, const Workspace::RopeTable* rope, float* k, int64_t token);
  void attend(const Attention& a, Rows q, Rows out);
  void route(Rows in, const Moe& moe, float* weights);
  void sort_by_expert(int64_t experts);
  void run_experts(Rows in, const Moe& moe, Rows expert_out);
  void run_experts_of_one(Rows in, const Moe& moe, Rows expert_out);
  void activate(Activation activation, Rows gate, Rows up, Rows out);
  void multiply(Rows in, std::span<const kernels::MatmulJob> jobs);
  void project(Rows in, const Linear& linear, Rows out);  // linear() untold
  bool runs() { return tape_ == nullptr || tape_->runs(); }
  void not_on_tape(const char* operation) {
    if (tape_ != nullptr) tape_->other(operation);
  }
  void collect_adapters();
  void adapt(Rows in, std::span<const kernels::MatmulJob> jobs);
  void add_adapters(Rows in, std::span<const kernels::MatmulJob> jobs,
                    std::span<const int64_t> rows);
  void adapt_embedding(const Matrix& table, Rows x);

  // Calls f(begin, end) over [0, count), split over threads when the work is worth it.
  template <typename F>
  void for_rows(int64_t count, int64_t floats_per_row, F&& f) {
    constexpr int64_t kFloatsWorthSplitting = 32768;
    if (count * floats_per_row < kFloatsWorthSplitting) {
      if (count > 0) f(int64_t{0}, count);
    } else {
      pool_.for_ranges(count, 1, f);
    }
  }

  const Config& config_;
  const kernels::Kernels& kernels_;
  std::span<const BatchToken> batch_;
  Output output_;
  Workspace& ws_;
  ThreadPool& pool_;
  float* out_;
  Tape* tape_;
  bool only_wanted_ = false;  // the residual stream holds the wanted tokens' rows alone
};

}  // namespace geist::model
