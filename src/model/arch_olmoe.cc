// OLMoE (arXiv:2409.02060): RMSNorm over the whole query and key, a mixture of experts in every
// layer whose weights are used as the softmax gives them.
#include "model/pass.h"
#include "model/registry.h"

namespace geist::model {
namespace {

class Olmoe final : public Model {
  struct Layer {
    Norm attn_norm, ffn_norm;
    Attention attention;
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
      load_row_norms(w, l.attention, i);
      l.attention.rope = &rope_;
      w.norm(l.ffn_norm, block_name(i, "ffn_norm"), {n});
      load_moe(w, l.moe, i, config_.feed_forward_length);
    }
  }

  void run(Pass& p) const override {
    Rows x = p.embed(embedding_);
    Rows h = p.rows(), y = p.rows();
    for (const Layer& l : layers_) {
      p.norm(x, l.attn_norm, h);
      p.attention(h, l.attention, y, x);
      p.add(x, y);
      p.norm(x, l.ffn_norm, h);
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

Architecture architecture_olmoe() {
  return {"olmoe", {.norm_kind = NormKind::kRms}, make_model<Olmoe>};
}

}  // namespace geist::model
