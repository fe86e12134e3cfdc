// BERT (arXiv:1810.04805) and its relatives for embeddings (MiniLM, BGE, E5): learned positions,
// LayerNorm after each block, attention in both directions, GELU. Every token has type 0.
#include "model/pass.h"
#include "model/registry.h"

namespace geist::model {
namespace {

class Bert final : public Model {
  struct Layer {
    Attention attention;
    Norm attn_out_norm, layer_out_norm;
    Mlp mlp;
  };

  void load_weights(Loader& w) override {
    const int64_t n = config_.embedding_length;
    w.table(embedding_, "token_embd.weight", config_.vocab_size, n);
    w.table(positions_, "position_embd.weight", config_.context_length, n);
    config_.position_limit = config_.context_length;
    load_token_type(w, token_type_);
    w.norm(embedding_norm_, "token_embd_norm", {n});
    layers_.resize(static_cast<size_t>(config_.block_count));
    for (int i = 0; i < config_.block_count; ++i) {
      Layer& l = layers_[static_cast<size_t>(i)];
      load_attention(w, l.attention, i);
      w.norm(l.attn_out_norm, block_name(i, "attn_output_norm"), {n});
      load_gelu_mlp(w, l.mlp, i);
      w.norm(l.layer_out_norm, block_name(i, "layer_output_norm"), {n});
    }
  }

  void run(Pass& p) const override {
    Rows x = p.embed(embedding_);
    Rows y = p.rows();
    if (!token_type_.empty()) p.add_vector(x, token_type_);
    p.add_position_embedding(x, positions_);
    p.norm(x, embedding_norm_, x);
    for (const Layer& l : layers_) {
      p.attention(x, l.attention, y, x);
      p.add(x, y);
      p.norm(x, l.attn_out_norm, x);
      p.mlp(x, l.mlp, y);
      p.add(x, y);
      p.norm(x, l.layer_out_norm, x);
    }
    p.output(x, Norm{}, nullptr);
  }

  Matrix embedding_, positions_;
  Vector token_type_;
  Norm embedding_norm_;
  std::vector<Layer> layers_;
};

}  // namespace

Architecture architecture_bert() {
  return {
      "bert", {.norm_kind = NormKind::kLayer, .rotates = false, .causal = false}, make_model<Bert>};
}

}  // namespace geist::model
