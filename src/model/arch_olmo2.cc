// OLMo 2 and 3 (arXiv:2501.00656): no norm before attention and MLP but one after each, RMSNorm
// over the whole query and key. OLMo 3 adds sliding-window layers, three to a global one, which
// rotate without scaling.
#include "model/pass.h"
#include "model/registry.h"

namespace geist::model {
namespace {

class Olmo2 final : public Model {
  struct Layer {
    Norm attn_post_norm, ffn_post_norm;
    Attention attention;
    Mlp mlp;
  };

  void load_weights(Loader& w) override {
    const int64_t n = config_.embedding_length;
    const RopeConfig& rope = config_.rope;
    rope_local_ = make_rope_frequencies({.dims = rope.dims}, rope.freq_base, {});
    w.table(embedding_, "token_embd.weight", config_.vocab_size, n);
    w.norm(output_norm_, "output_norm", {n});
    w.output_head(output_, embedding_);
    layers_.resize(static_cast<size_t>(config_.block_count));
    for (int i = 0; i < config_.block_count; ++i) {
      Layer& l = layers_[static_cast<size_t>(i)];
      const bool local = config_.window_of(i) > 0;
      load_attention(w, l.attention, i);
      load_row_norms(w, l.attention, i);
      l.attention.rope = local ? &rope_local_ : &rope_;
      l.attention.window = config_.window_of(i);
      w.norm(l.attn_post_norm, block_name(i, "post_attention_norm"), {n});
      load_gated_mlp(w, l.mlp, i);
      w.norm(l.ffn_post_norm, block_name(i, "post_ffw_norm"), {n});
    }
  }

  void run(Pass& p) const override {
    Rows x = p.embed(embedding_);
    Rows y = p.rows();
    for (const Layer& l : layers_) {
      p.attention(x, l.attention, y, x);
      p.norm(y, l.attn_post_norm, y);
      p.add(x, y);
      p.mlp(x, l.mlp, y);
      p.norm(y, l.ffn_post_norm, y);
      p.add(x, y);
    }
    p.output(x, output_norm_, &output_);
  }

  Matrix embedding_;
  std::vector<Layer> layers_;
  Norm output_norm_;
  Linear output_;
};

}  // namespace

Architecture architecture_olmo2() {
  return {"olmo2", {.norm_kind = NormKind::kRms, .local_layer_period = 4}, make_model<Olmo2>};
}

}  // namespace geist::model
