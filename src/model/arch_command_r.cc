// Command R and R+: attention and MLP in parallel from one LayerNorm without bias, adjacent
// rotation pairs, tied output, logits multiplied by logit_scale. R+ adds a LayerNorm of its own to
// each head's query and key.
#include "model/pass.h"
#include "model/registry.h"

namespace geist::model {
namespace {

class CommandR final : public Model {
  struct Layer {
    Norm norm;
    Attention attention;
    Mlp mlp;
  };

  void load_weights(Loader& w) override {
    const int64_t n = config_.embedding_length;
    w.table(embedding_, "token_embd.weight", config_.vocab_size, n);
    w.norm(output_norm_, "output_norm", {n});
    w.output_head(output_, embedding_);
    layers_.resize(static_cast<size_t>(config_.block_count));
    for (int i = 0; i < config_.block_count; ++i) {
      Layer& l = layers_[static_cast<size_t>(i)];
      w.norm(l.norm, block_name(i, "attn_norm"), {n});
      load_attention(w, l.attention, i);
      load_norms_per_head(w, l.attention, i);
      l.attention.rope = &rope_;
      l.attention.pairing = kernels::RopePairing::kAdjacent;
      load_gated_mlp(w, l.mlp, i);
    }
  }

  void run(Pass& p) const override {
    Rows x = p.embed(embedding_);
    Rows h = p.rows(), attended = p.rows(), fed = p.rows();
    for (const Layer& l : layers_) {
      p.norm(x, l.norm, h);
      p.attention(h, l.attention, attended, x);
      p.mlp(h, l.mlp, fed);
      p.add(x, fed);
      p.add(x, attended);
    }
    const Rows logits = p.output(x, output_norm_, &output_);
    if (config_.logit_scale != 0.0f) p.scale(logits, config_.logit_scale);
  }

  Matrix embedding_;
  std::vector<Layer> layers_;
  Norm output_norm_;
  Linear output_;
};

}  // namespace

Architecture architecture_command_r() {
  return {"command-r", {.norm_kind = NormKind::kLayer}, make_model<CommandR>};
}

}  // namespace geist::model
