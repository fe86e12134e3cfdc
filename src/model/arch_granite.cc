// Granite 3 (IBM), dense and mixture of experts: Llama's blocks with four multipliers (embedding,
// residual, attention; logits are divided). Hybrid relatives switch rotation off. A shared expert
// where the file has one.
#include "model/pass.h"
#include "model/registry.h"

namespace geist::model {
namespace {

class Granite final : public Model {
  struct Layer {
    Norm attn_norm, ffn_norm;
    Attention attention;
    Mlp mlp;
    Moe moe;
  };

  void load_weights(Loader& w) override {
    const int64_t n = config_.embedding_length;
    w.table(embedding_, "token_embd.weight", config_.vocab_size, n);
    w.norm(output_norm_, "output_norm", {n});
    w.output_head(output_, embedding_);
    layers_.resize(static_cast<size_t>(config_.block_count));
    for (int i = 0; i < config_.block_count; ++i) {
      Layer& l = layers_[static_cast<size_t>(i)];
      w.norm(l.attn_norm, block_name(i, "attn_norm"), {n});
      load_attention(w, l.attention, i);
      l.attention.rope = config_.rope.enabled ? &rope_ : nullptr;
      l.attention.pairing = kernels::RopePairing::kAdjacent;
      w.norm(l.ffn_norm, block_name(i, "ffn_norm"), {n});
      if (config_.expert.count == 0) {
        load_gated_mlp(w, l.mlp, i);
        continue;
      }
      load_moe(w, l.moe, i, config_.feed_forward_length);
      l.moe.normalize = true;
      if (config_.expert.shared_feed_forward_length > 0)
        load_shared_expert(w, l.moe, i, config_.expert.shared_feed_forward_length);
    }
  }

  void run(Pass& p) const override {
    Rows x = p.embed(embedding_);
    Rows h = p.rows(), y = p.rows();
    const float residual = config_.residual_scale != 0.0f ? config_.residual_scale : 1.0f;
    if (config_.embedding_scale != 0.0f) p.scale(x, config_.embedding_scale);
    for (const Layer& l : layers_) {
      p.norm(x, l.attn_norm, h);
      p.attention(h, l.attention, y, x);
      p.add_scaled(x, y, residual);
      p.norm(x, l.ffn_norm, h);
      l.moe ? p.moe(h, l.moe, y) : p.mlp(h, l.mlp, y);
      p.add_scaled(x, y, residual);
    }
    const Rows logits = p.output(x, output_norm_, &output_);
    if (config_.logit_scale != 0.0f) p.scale(logits, 1.0f / config_.logit_scale);
  }

  Matrix embedding_;
  std::vector<Layer> layers_;
  Norm output_norm_;
  Linear output_;
};

}  // namespace

Architecture architecture_granite() {
  return {"granite", {.norm_kind = NormKind::kRms}, make_model<Granite>};
}

Architecture architecture_granitemoe() {
  return {"granitemoe", {.norm_kind = NormKind::kRms}, make_model<Granite>};
}

}  // namespace geist::model
