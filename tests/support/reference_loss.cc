#include "tests/support/reference_loss.h"

#include <cmath>
#include <cstring>

namespace geist::testing {
namespace {

using Row = std::vector<double>;
using Table = std::vector<Row>;

class Reference {
 public:
  Reference(const gguf::Metadata& metadata, const Weights& weights)
      : metadata_(metadata), weights_(weights) {
    arch_ = *gguf::get_string(metadata, "general.architecture").value();
    gpt_ = arch_ == "gpt2";
    width_ = integer("embedding_length");
    heads_ = integer("attention.head_count");
    kv_heads_ = integer("attention.head_count_kv", heads_);
    head_ = integer("attention.key_length", width_ / heads_);
    rotated_ = gpt_ ? 0 : integer("rope.dimension_count", head_);
    const double base = number("rope.freq_base", 10000.0);
    for (size_t i = 0; i < rotated_ / 2; ++i)
      frequencies_.push_back(
          std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(rotated_)));
    eps_ = number(gpt_ ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", 1e-5);
  }

  std::vector<double> log_probabilities(const std::vector<int32_t>& ids) {
    const Table hidden = hidden_states(ids);
    const char* head = has("output.weight") ? "output" : "token_embd";
    std::vector<double> out;
    for (size_t t = 0; t < hidden.size(); ++t) {
      const Row logits = linear(hidden[t], head);
      double top = logits[0], total = 0;
      for (const double v : logits) top = std::max(top, v);
      for (const double v : logits) total += std::exp(v - top);
      out.push_back(logits[static_cast<size_t>(ids[t + 1])] - top - std::log(total));
    }
    return out;
  }

  std::vector<double> scalars(const std::vector<int32_t>& ids, const std::string& head) {
    const Row& w = weights_.at(head);
    std::vector<double> out;
    for (const Row& hidden : hidden_states(ids)) {
      double sum = 0;
      for (size_t i = 0; i < w.size(); ++i) sum += w[i] * hidden[i];
      out.push_back(sum);
    }
    return out;
  }

 private:
  size_t integer(const std::string& key, size_t otherwise = 0) const {
    const auto value = gguf::get_int(metadata_, arch_ + "." + key).value();
    return value ? static_cast<size_t>(*value) : otherwise;
  }
  double number(const std::string& key, double otherwise) const {
    return gguf::get_float(metadata_, arch_ + "." + key).value().value_or(otherwise);
  }
  bool has(const std::string& name) const { return weights_.count(name) > 0; }
  Row row_of(const std::string& name, size_t row) const {
    const Row& table = weights_.at(name);
    const auto begin = table.begin() + static_cast<std::ptrdiff_t>(row * width_);
    return Row(begin, begin + static_cast<std::ptrdiff_t>(width_));
  }
  static void add(Row& x, const Row& y) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  // Of all ids but the last, after the final norm.
  Table hidden_states(const std::vector<int32_t>& ids) {
    Table x;
    for (size_t t = 0; t + 1 < ids.size(); ++t) {
      x.push_back(row_of("token_embd.weight", static_cast<size_t>(ids[t])));
      if (gpt_) add(x[t], row_of("position_embd.weight", t));
    }
    for (size_t layer = 0; layer < integer("block_count"); ++layer) block(x, layer);
    for (Row& row : x) row = norm(row, "output_norm");
    return x;
  }

  Row linear(const Row& x, const std::string& base) const {
    const Row& w = weights_.at(base + ".weight");
    Row y(w.size() / x.size());
    for (size_t r = 0; r < y.size(); ++r)
      for (size_t c = 0; c < x.size(); ++c) y[r] += w[r * x.size() + c] * x[c];
    if (has(base + ".bias")) add(y, weights_.at(base + ".bias"));
    return y;
  }
  Row norm(Row x, const std::string& base) const {
    const double n = static_cast<double>(x.size());
    double mean = 0, variance = 0;
    if (gpt_)
      for (const double v : x) mean += v / n;
    for (const double v : x) variance += (v - mean) * (v - mean) / n;
    const Row& w = weights_.at(base + ".weight");
    for (size_t i = 0; i < x.size(); ++i) x[i] = (x[i] - mean) / std::sqrt(variance + eps_) * w[i];
    if (has(base + ".bias")) add(x, weights_.at(base + ".bias"));
    return x;
  }
  void rotate(Row& x, size_t heads, size_t pos) const {
    const bool adjacent = arch_ == "llama";
    const size_t half = rotated_ / 2;
    for (size_t h = 0; h < heads; ++h) {
      for (size_t i = 0; i < half; ++i) {
        double& a = x[h * head_ + (adjacent ? 2 * i : i)];
        double& b = x[h * head_ + (adjacent ? 2 * i + 1 : i + half)];
        const double angle = frequencies_[i] * static_cast<double>(pos);
        const double c = std::cos(angle), s = std::sin(angle), old = a;
        a = a * c - b * s;
        b = old * s + b * c;
      }
    }
  }

  Row attend(const Row& q, const Table& keys, const Table& values) const {
    Row out(heads_ * head_);
    for (size_t h = 0; h < heads_; ++h) {
      const size_t kv = h / (heads_ / kv_heads_) * head_;
      Row score(keys.size());
      double total = 0;
      for (size_t j = 0; j < keys.size(); ++j) {
        for (size_t d = 0; d < head_; ++d) score[j] += q[h * head_ + d] * keys[j][kv + d];
        total += score[j] = std::exp(score[j] / std::sqrt(static_cast<double>(head_)));
      }
      for (size_t j = 0; j < keys.size(); ++j)
        for (size_t d = 0; d < head_; ++d)
          out[h * head_ + d] += score[j] / total * values[j][kv + d];
    }
    return out;
  }

  void block(Table& x, size_t layer) const {
    const std::string base = "blk." + std::to_string(layer) + ".";
    Table keys, values;
    for (size_t t = 0; t < x.size(); ++t) {
      const Row h = norm(x[t], base + "attn_norm");
      Row q, k, v;
      if (has(base + "attn_qkv.weight")) {
        const Row all = linear(h, base + "attn_qkv");
        const auto at = [&](size_t i) { return all.begin() + static_cast<std::ptrdiff_t>(i); };
        const size_t n = heads_ * head_, m = kv_heads_ * head_;
        q.assign(at(0), at(n));
        k.assign(at(n), at(n + m));
        v.assign(at(n + m), at(n + 2 * m));
      } else {
        q = linear(h, base + "attn_q");
        k = linear(h, base + "attn_k");
        v = linear(h, base + "attn_v");
      }
      rotate(q, heads_, t);
      rotate(k, kv_heads_, t);
      keys.push_back(k);
      values.push_back(v);
      add(x[t], linear(attend(q, keys, values), base + "attn_output"));
      add(x[t], mlp(norm(x[t], base + "ffn_norm"), base));
    }
  }
  Row mlp(const Row& h, const std::string& base) const {
    Row up = linear(h, base + "ffn_up");
    if (has(base + "ffn_gate.weight")) {
      const Row gate = linear(h, base + "ffn_gate");
      for (size_t i = 0; i < up.size(); ++i) up[i] *= gate[i] / (1 + std::exp(-gate[i]));
    } else {
      for (double& v : up)
        v = 0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
    }
    return linear(up, base + "ffn_down");
  }

  const gguf::Metadata& metadata_;
  const Weights& weights_;
  std::string arch_;
  bool gpt_;
  size_t width_, heads_, kv_heads_, head_, rotated_;
  std::vector<double> frequencies_;
  double eps_;
};

}  // namespace

Weights read_weights(const gguf::File& file) {
  Weights weights;
  for (const gguf::Tensor& t : file.tensors()) {
    std::vector<float> values(static_cast<size_t>(t.elements()));
    std::memcpy(values.data(), t.data.data(), t.data.size());
    weights[t.name].assign(values.begin(), values.end());
  }
  return weights;
}

double reference_loss(const gguf::Metadata& metadata, const Weights& weights,
                      const std::vector<int32_t>& ids, const std::vector<double>& token_weights) {
  const auto logs = Reference(metadata, weights).log_probabilities(ids);
  double sum = 0;
  for (size_t t = 0; t < logs.size(); ++t) sum -= token_weights[t] * logs[t];
  return sum;
}

std::vector<double> reference_log_probabilities(const gguf::Metadata& metadata,
                                                const Weights& weights,
                                                const std::vector<int32_t>& ids) {
  return Reference(metadata, weights).log_probabilities(ids);
}

std::vector<double> reference_scalars(const gguf::Metadata& metadata, const Weights& weights,
                                      const std::vector<int32_t>& ids, const std::string& head) {
  return Reference(metadata, weights).scalars(ids, head);
}

}  // namespace geist::testing
