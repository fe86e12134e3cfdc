// GPT-NeoX and Pythia (arXiv:2204.06745, 2304.01373): partial rotation, two LayerNorms, attention
// and MLP in parallel or one after the other as the file says.
#include "model/pass.h"
#include "model/registry.h"

namespace geist::model {
namespace {

class GptNeox final : public Model {
  struct Layer {
    Norm attn_norm, ffn_norm;
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
      w.norm(l.attn_norm, block_name(i, "attn_norm"), {n});
      load_attention(w, l.attention, i);
      l.attention.rope = &rope_;
      w.norm(l.ffn_norm, block_name(i, "ffn_norm"), {n});
      load_gelu_mlp(w, l.mlp, i);
    }
  }

  void run(Pass& p) const override {
    Rows x = p.embed(embedding_);
    Rows h = p.rows(), attended = p.rows(), fed = p.rows();
    for (const Layer& l : layers_) {
      p.norm(x, l.attn_norm, h);
      p.attention(h, l.attention, attended, x);
      if (config_.parallel_residual) {
        p.norm(x, l.ffn_norm, h);
        p.mlp(h, l.mlp, fed);
        p.add(x, attended);
      } else {
        p.add(x, attended);
        p.norm(x, l.ffn_norm, h);
        p.mlp(h, l.mlp, fed);
      }
      p.add(x, fed);
    }
    p.output(x, output_norm_, &output_);
  }

  Matrix embedding_;
  std::vector<Layer> layers_;
  Norm output_norm_;
  Linear output_;
};

}  // namespace

Architecture architecture_gptneox() {
  return {"gptneox", {.norm_kind = NormKind::kLayer}, make_model<GptNeox>};
}

}  // namespace geist::model
