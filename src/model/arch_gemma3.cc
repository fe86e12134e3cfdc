// Gemma 3 (arXiv:2503.19786): Gemma 2 without attention cap, an RMSNorm over each head's query and
// key, five sliding-window layers to a global one. Local layers rotate with a base of their own and
// no scaling.
#include <cmath>

#include "model/pass.h"
#include "model/registry.h"

namespace geist::model {
namespace {

class Gemma3 final : public Model {
  struct Layer {
    Norm attn_norm, attn_post_norm, ffn_norm, ffn_post_norm;
    Attention attention;
    Mlp mlp;
  };

  void load_weights(Loader& w) override {
    constexpr int32_t kLayersOf27B = 62;
    constexpr double kLocalBase = 10000.0;
    const int64_t n = config_.embedding_length;
    const double local_base = config_.rope.freq_base_local;
    rope_local_ = make_rope_frequencies({.dims = config_.rope.dims},
                                        local_base != 0.0 ? local_base : kLocalBase, {});
    if (config_.block_count == kLayersOf27B && !config_.attention_scale_given)
      config_.attention_scale =
          1.0f / std::sqrt(static_cast<float>(config_.embedding_length / config_.head_count));
    w.table(embedding_, "token_embd.weight", config_.vocab_size, n);
    w.norm(output_norm_, "output_norm", {n});
    w.output_head(output_, embedding_);
    layers_.resize(static_cast<size_t>(config_.block_count));
    for (int i = 0; i < config_.block_count; ++i) {
      Layer& l = layers_[static_cast<size_t>(i)];
      const bool local = config_.window_of(i) > 0;
      w.norm(l.attn_norm, block_name(i, "attn_norm"), {n});
      load_attention(w, l.attention, i);
      load_head_norms(w, l.attention, i);
      l.attention.rope = local ? &rope_local_ : &rope_;
      l.attention.window = config_.window_of(i);
      w.norm(l.attn_post_norm, block_name(i, "post_attention_norm"), {n});
      w.norm(l.ffn_norm, block_name(i, "ffn_norm"), {n});
      load_gated_mlp(w, l.mlp, i);
      l.mlp.activation = Activation::kGelu;
      w.norm(l.ffn_post_norm, block_name(i, "post_ffw_norm"), {n});
    }
  }

  void run(Pass& p) const override {
    Rows x = p.embed(embedding_);
    Rows h = p.rows(), y = p.rows();
    p.scale(x, std::sqrt(static_cast<float>(config_.embedding_length)));
    for (const Layer& l : layers_) {
      p.norm(x, l.attn_norm, h);
      p.attention(h, l.attention, y, x);
      p.norm(y, l.attn_post_norm, y);
      p.add(x, y);
      p.norm(x, l.ffn_norm, h);
      p.mlp(h, l.mlp, y);
      p.norm(y, l.ffn_post_norm, y);
      p.add(x, y);
    }
    p.softcap(p.output(x, output_norm_, &output_), config_.output_softcap);
  }

  Matrix embedding_;
  std::vector<Layer> layers_;
  Norm output_norm_;
  Linear output_;
};

}  // namespace

Architecture architecture_gemma3() {
  return {"gemma3", {.norm_kind = NormKind::kRms, .local_layer_period = 6}, make_model<Gemma3>};
}

}  // namespace geist::model
