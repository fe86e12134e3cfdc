// The parts that architectures are built from: attention, MLP, mixture of experts. Each is a struct
// of weights and options that an architecture fills at load (usually by load_*()) and hands to
// Pass, which computes it. What differs between architectures is data here, not code.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"
#include "model/rope.h"
#include "model/weights.h"

namespace geist::model {

struct Attention {
  int32_t layer = 0;  // which part of a page its keys and values take

  Linear qkv;      // rows [q; k; v], or
  Linear q, k, v;  // one apiece
  Linear out;

  // Applied to queries and keys before rotation. Weights as long as a head (shared by all heads),
  // as long as all heads together (a norm apiece, or one over the whole row).
  Norm q_norm, k_norm;
  bool norm_whole_row = false;

  const RopeFrequencies* rope = nullptr;  // null: no rotation
  kernels::RopePairing pairing = kernels::RopePairing::kHalves;

  int32_t window = 0;                   // sees positions p - window < j <= p; 0: all before p
  const float* alibi_slopes = nullptr;  // [heads]
  Vector sinks;                         // [heads] or empty
};

enum class Activation { kSilu, kGelu, kSwigluOai };

// down(act(gate x) * up x), or down(act(up x)) without a gate.
struct Mlp {
  Linear gate, up, down;
  bool gate_in_up = false;  // up's rows are [gate; up]
  Activation activation = Activation::kSilu;
};

enum class Gating {
  kSoftmax,          // over all experts, then the best are taken
  kSoftmaxSelected,  // the best are taken by logit, softmax over those
};

// The weighted sum of the best experts for each token, plus a shared expert.
struct Moe {
  Linear router;
  ExpertLinear gate, up, down;
  int32_t used = 0;
  Gating gating = Gating::kSoftmax;
  bool normalize = false;  // the weights of the selected experts are divided by their sum
  float weights_scale = 1.0f;
  Activation activation = Activation::kSilu;

  Mlp shared;          // used when it has weights
  Linear shared_gate;  // one row: sigmoid of it scales the shared expert's output

  explicit operator bool() const { return static_cast<bool>(router); }
};

// attn_qkv, or attn_q, attn_k, attn_v; attn_output; biases where the file has them.
void load_attention(Loader& loader, Attention& attention, int layer);
// attn_q_norm and attn_k_norm, one weight for all heads.
void load_head_norms(Loader& loader, Attention& attention, int layer);
// The same with weights for each head, when the file has them: both or neither.
void load_norms_per_head(Loader& loader, Attention& attention, int layer);
// The same over the whole row.
void load_row_norms(Loader& loader, Attention& attention, int layer);

// ffn_gate, ffn_up, ffn_down (SiLU), or only ffn_up and ffn_down (GELU).
void load_gated_mlp(Loader& loader, Mlp& mlp, int layer);
void load_gelu_mlp(Loader& loader, Mlp& mlp, int layer);

// The width of an expert: expert_feed_forward_length, or the whole width shared out among the
// experts that run.
int64_t expert_feed_forward(const Config& config);
// ffn_gate_inp and the experts' matrices, each `feed_forward` wide.
void load_moe(Loader& loader, Moe& moe, int layer, int64_t feed_forward);
// ffn_gate_shexp, ffn_up_shexp, ffn_down_shexp.
void load_shared_expert(Loader& loader, Moe& moe, int layer, int64_t feed_forward);

// The embedding of token type 0, which every token of an embedding model gets; optional.
void load_token_type(Loader& loader, Vector& out);

}  // namespace geist::model
