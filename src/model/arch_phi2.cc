// Phi 1, 1.5 and 2 (arXiv:2309.05463): attention and MLP in parallel from one LayerNorm, biases
// everywhere, rotation of a part of each head.
#include "model/pass.h"
#include "model/registry.h"

namespace geist::model {
namespace {

class Phi2 final : public Model {
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
      l.attention.rope = &rope_;
      load_gelu_mlp(w, l.mlp, i);
    }
  }

  void run(Pass& p) const override {
    Rows x = p.embed(embedding_);
    Rows h = p.rows(), attended = p.rows(), fed = p.rows();
    for (const Layer& l : layers_) {
      p.norm(x, l.norm, h);
      p.attention(h, l.attention, attended, x);
      p.mlp(h, l.mlp, fed);
      p.add(x, attended);
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

Architecture architecture_phi2() {
  return {"phi2", {.norm_kind = NormKind::kLayer}, make_model<Phi2>};
}

}  // namespace geist::model
