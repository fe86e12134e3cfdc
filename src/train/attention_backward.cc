#include "train/attention_backward.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace geist::train {
namespace {

using kernels::OuterProduct;

constexpr int64_t kTile = 32;  // queries

class Task {
 public:
  Task(const kernels::Kernels& kernels, const kernels::GradKernels& grad, const AttentionDims& dims,
       const AttentionRows& rows, SequenceRows sequence, int64_t kv_head)
      : k_(kernels),
        g_(grad),
        d_(dims),
        r_(rows),
        count_(sequence.count),
        qkv_(rows.qkv + sequence.first * rows.qkv_stride),
        dqkv_(rows.dqkv + sequence.first * rows.qkv_stride),
        out_(rows.out + sequence.first * rows.out_stride),
        dout_(rows.dout + sequence.first * rows.dout_stride),
        key_at_(dims.heads * dims.key_dim + kv_head * dims.key_dim),
        value_at_((dims.heads + dims.kv_heads) * dims.key_dim + kv_head * dims.value_dim),
        first_head_(kv_head * (dims.heads / dims.kv_heads)) {}

  void run() {
    keys_t_.resize(static_cast<size_t>(count_ * d_.key_dim));
    values_t_.resize(static_cast<size_t>(count_ * d_.value_dim));
    p_.resize(static_cast<size_t>(kTile * count_));
    ds_.resize(p_.size());
    g_.transpose(qkv_ + key_at_, r_.qkv_stride, count_, d_.key_dim, keys_t_.data(), count_);
    g_.transpose(qkv_ + value_at_, r_.qkv_stride, count_, d_.value_dim, values_t_.data(), count_);
    const int64_t group = d_.heads / d_.kv_heads;
    for (int64_t h = first_head_; h < first_head_ + group; ++h)
      for (int64_t i = 0; i < count_; i += kTile)
        tile(h, i, std::min(kTile, count_ - i), h == first_head_ && i == 0);
  }

 private:
  // p = softmax of the visible scores of each row, +0 elsewhere; ds = the scores' gradient.
  void probabilities(int64_t head, int64_t first, int64_t queries, int64_t keys) {
    for (int64_t i = 0; i < queries; ++i) {
      const int64_t pos = first + i, end = pos + 1;
      const int64_t begin = d_.window > 0 ? std::max<int64_t>(0, end - d_.window) : 0;
      float *p = p_.data() + i * keys, *ds = ds_.data() + i * keys;
      float max = 0;
      k_.scale(p + begin, d_.scale, end - begin, p + begin);
      const float total = g_.exp_row(p + begin, end - begin, p + begin, &max);
      k_.scale(p + begin, 1.0f / total, end - begin, p + begin);
      const float dot = k_.dot(dout_ + pos * r_.dout_stride + head * d_.value_dim,
                               out_ + pos * r_.out_stride + head * d_.value_dim, d_.value_dim);
      g_.softmax_backward(p + begin, ds + begin, dot, d_.scale, end - begin, ds + begin);
      for (float* row : {p, ds}) {
        std::fill(row, row + begin, 0.0f);
        std::fill(row + end, row + keys, 0.0f);
      }
    }
  }

  void tile(int64_t head, int64_t first, int64_t queries, bool first_tile) {
    const int64_t keys = first + queries;
    const float* q = qkv_ + first * r_.qkv_stride + head * d_.key_dim;
    const float* dout = dout_ + first * r_.dout_stride + head * d_.value_dim;
    OuterProduct product{};
    product.rows = queries;
    product.cols = keys;
    product.a_depth = 1;
    product.b_stride = count_;
    product.c_stride = keys;
    product.depth = d_.key_dim;  // p = q k
    product.a = q;
    product.a_row = r_.qkv_stride;
    product.b = keys_t_.data();
    product.c = p_.data();
    g_.outer_product(product);
    product.depth = d_.value_dim;  // ds = dout v
    product.a = dout;
    product.a_row = r_.dout_stride;
    product.b = values_t_.data();
    product.c = ds_.data();
    g_.outer_product(product);
    probabilities(head, first, queries, keys);

    product.cols = d_.key_dim;  // dq = ds k
    product.depth = keys;
    product.a = ds_.data();
    product.a_row = keys;
    product.b = qkv_ + key_at_;
    product.b_stride = r_.qkv_stride;
    product.c = dqkv_ + first * r_.qkv_stride + head * d_.key_dim;
    product.c_stride = r_.qkv_stride;
    g_.outer_product(product);

    if (first_tile) clear_key_gradients();
    product.rows = keys;  // dk += ds^T q
    product.depth = queries;
    product.a_row = 1;
    product.a_depth = keys;
    product.b = q;
    product.c = dqkv_ + key_at_;
    product.accumulate = true;
    g_.outer_product(product);
    product.cols = d_.value_dim;  // dv += p^T dout
    product.a = p_.data();
    product.b = dout;
    product.b_stride = r_.dout_stride;
    product.c = dqkv_ + value_at_;
    g_.outer_product(product);
  }

  void clear_key_gradients() {
    for (int64_t t = 0; t < count_; ++t) {
      float* row = dqkv_ + t * r_.qkv_stride;
      std::fill(row + key_at_, row + key_at_ + d_.key_dim, 0.0f);
      std::fill(row + value_at_, row + value_at_ + d_.value_dim, 0.0f);
    }
  }

  const kernels::Kernels& k_;
  const kernels::GradKernels& g_;
  const AttentionDims& d_;
  const AttentionRows& r_;
  int64_t count_;
  const float* qkv_;
  float* dqkv_;
  const float *out_, *dout_;
  int64_t key_at_, value_at_, first_head_;
  std::vector<float> keys_t_, values_t_;  // [dim][count]
  std::vector<float> p_, ds_;             // [queries][keys]
};

}  // namespace

void attention_backward(const kernels::Kernels& kernels, const kernels::GradKernels& grad,
                        ThreadPool& pool, const AttentionDims& dims, const AttentionRows& rows,
                        std::span<const SequenceRows> sequences) {
  const int64_t tasks = static_cast<int64_t>(sequences.size()) * dims.kv_heads;
  pool.for_each(tasks, [&](int64_t i) {
    Task(kernels, grad, dims, rows, sequences[static_cast<size_t>(i / dims.kv_heads)],
         i % dims.kv_heads)
        .run();
  });
}

}  // namespace geist::train
