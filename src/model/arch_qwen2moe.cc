// Qwen 1.5 and 2 mixtures of experts (arXiv:2407.10671): Qwen 2's attention; the chosen experts'
// weights are used as the softmax gives them; a shared expert runs for every token behind a sigmoid
// gate.
#include "model/pass.h"
#include "model/registry.h"

namespace geist::model {
namespace {

class Qwen2Moe final : public Model {
  struct Layer {
    Norm attn_norm, ffn_norm;
    Attention attention;
    Moe moe;
  };

  void load_weights(Loader& w) override {
    const int64_t n = config_.embedding_length;
    const ExpertConfig& experts = config_.expert;
    w.table(embedding_, "token_embd.weight", config_.vocab_size, n);
    w.norm(output_norm_, "output_norm", {n});
    w.output_head(output_, embedding_);
    layers_.resize(static_cast<size_t>(config_.block_count));
    for (int i = 0; i < config_.block_count; ++i) {
      Layer& l = layers_[static_cast<size_t>(i)];
      w.norm(l.attn_norm, block_name(i, "attn_norm"), {n});
      load_attention(w, l.attention, i);
      l.attention.rope = &rope_;
      w.norm(l.ffn_norm, block_name(i, "ffn_norm"), {n});
      load_moe(w, l.moe, i, expert_feed_forward(config_));
      load_shared_expert(w, l.moe, i,
                         experts.shared_feed_forward_length > 0 ? experts.shared_feed_forward_length
                                                                : config_.feed_forward_length);
      w.linear(l.moe.shared_gate, block_name(i, "ffn_gate_inp_shexp"), 1, n);
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

Architecture architecture_qwen2moe() {
  return {"qwen2moe", {.norm_kind = NormKind::kRms}, make_model<Qwen2Moe>};
}

}  // namespace geist::model
