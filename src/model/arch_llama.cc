// Llama 1, 2, 3 (arXiv:2302.13971, 2307.09288, 2407.21783) and the many models that share its
// blocks: TinyLlama, SmolLM, Mistral, Mixtral (arXiv:2401.04088), with optional biases.
#include "model/pass.h"
#include "model/registry.h"

namespace geist::model {
namespace {

class Llama final : public Model {
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
      l.attention.rope = &rope_;
      l.attention.pairing = kernels::RopePairing::kAdjacent;
      w.norm(l.ffn_norm, block_name(i, "ffn_norm"), {n});
      if (config_.expert.count > 0) {
        load_moe(w, l.moe, i, config_.feed_forward_length);
        l.moe.normalize = true;
      } else {
        load_gated_mlp(w, l.mlp, i);
      }
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
      l.moe ? p.moe(h, l.moe, y) : p.mlp(h, l.mlp, y);
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

Architecture architecture_llama() {
  return {"llama", {.norm_kind = NormKind::kRms}, make_model<Llama>};
}

}  // namespace geist::model
