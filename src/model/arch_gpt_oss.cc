// gpt-oss (OpenAI 2025): mixture of experts with biases throughout, a clamped SwiGLU, a learned
// sink in each head's softmax, a sliding window in every other layer, YaRN. The softmax of the
// router runs over the chosen experts only.
#include "model/pass.h"
#include "model/registry.h"

namespace geist::model {
namespace {

class GptOss final : public Model {
  struct Layer {
    Norm attn_norm, attn_post_norm;
    Attention attention;
    Moe moe;
  };

  void load_weights(Loader& w) override {
    const int64_t n = config_.embedding_length;
    if (config_.sliding_window == 0)
      return w.fail(
          errorf("'gpt-oss.attention.sliding_window' is missing, and this architecture needs it"));
    w.table(embedding_, "token_embd.weight", config_.vocab_size, n);
    w.norm(output_norm_, "output_norm", {n});
    w.output_head(output_, embedding_);
    layers_.resize(static_cast<size_t>(config_.block_count));
    for (int i = 0; i < config_.block_count; ++i) {
      Layer& l = layers_[static_cast<size_t>(i)];
      const bool local = config_.window_of(i) > 0;
      w.norm(l.attn_norm, block_name(i, "attn_norm"), {n});
      load_attention(w, l.attention, i);
      w.vector(l.attention.sinks, block_name(i, "attn_sinks.weight"), {config_.head_count});
      l.attention.rope = local ? &rope_local_ : &rope_;
      l.attention.window = config_.window_of(i);
      w.norm(l.attn_post_norm, block_name(i, "post_attention_norm"), {n});
      load_moe(w, l.moe, i, config_.expert.feed_forward_length);
      l.moe.gating = Gating::kSoftmaxSelected;
      l.moe.activation = Activation::kSwigluOai;
    }
  }

  void run(Pass& p) const override {
    Rows x = p.embed(embedding_);
    Rows h = p.rows(), y = p.rows();
    for (const Layer& l : layers_) {
      p.norm(x, l.attn_norm, h);
      p.attention(h, l.attention, y, x);
      p.add(x, y);
      p.norm(x, l.attn_post_norm, h);
      p.moe(h, l.moe, y);
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

Architecture architecture_gpt_oss() {
  return {"gpt-oss", {.norm_kind = NormKind::kRms, .local_layer_period = 2}, make_model<GptOss>};
}

}  // namespace geist::model
