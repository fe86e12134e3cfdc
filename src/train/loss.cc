#include "train/loss.h"

#include <algorithm>
#include <cstring>

#include "engine/sampler.h"
#include "kernels/grad_matmul.h"
#include "kernels/math.h"

namespace geist::train {
namespace {

constexpr int64_t kLogitFloats = 16 << 20;  // of one chunk: 64 MB

}  // namespace

int64_t HeadLoss::chunk_rows(const model::Linear& head, int64_t count) const {
  const int64_t most = std::max<int64_t>(16, kLogitFloats / head.outputs());
  const int64_t chunks = (count + most - 1) / most;
  return std::max<int64_t>(1, (count + chunks - 1) / std::max<int64_t>(1, chunks));
}

void HeadLoss::logits(const model::Linear& head, const float* hidden, int64_t count) {
  const size_t size = static_cast<size_t>(count * head.outputs());
  if (logits_.size() < size) logits_.resize(size);
  activations_.set(hidden, count, head.w.cols, head.w.cols);
  const kernels::MatmulJob job{&head.w, model::data_or_null(head.bias), logits_.data(),
                               head.outputs()};
  kernels::matmul(k_, pool_, activations_, {&job, 1});
}

LossSums HeadLoss::forward(const model::Linear& head, const LossRows& rows,
                           double* log_probabilities) {
  const auto count = static_cast<int64_t>(rows.targets.size());
  const int64_t step = chunk_rows(head, count), vocab = head.outputs();
  log_probabilities_.resize(static_cast<size_t>(count));
  for (int64_t first = 0; first < count; first += step) {
    const int64_t n = std::min(step, count - first);
    logits(head, rows.hidden + first * head.w.cols, n);
    pool_.for_ranges(n, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        log_probabilities_[static_cast<size_t>(first + i)] = engine::log_probability(
            std::span(logits_.data() + i * vocab, static_cast<size_t>(vocab)),
            rows.targets[static_cast<size_t>(first + i)]);
    });
  }
  LossSums sums;
  for (size_t i = 0; i < rows.targets.size(); ++i) {
    sums.weighted -= double{rows.weights[i]} * log_probabilities_[i];
    sums.weight += double{rows.weights[i]};
  }
  sums.count = count;
  if (log_probabilities != nullptr)
    std::copy(log_probabilities_.begin(), log_probabilities_.end(), log_probabilities);
  return sums;
}

LossSums HeadLoss::backward(const model::Linear& head, const LossRows& rows, float scale,
                            float* dweight, float* dbias) {
  const kernels::GradKernels& grad = *kernels::grad_kernels_for(k_.isa);
  const auto count = static_cast<int64_t>(rows.targets.size());
  const int64_t step = chunk_rows(head, count), vocab = head.outputs(), width = head.w.cols;
  dhidden_.resize(static_cast<size_t>(step * width));
  log_probabilities_.resize(static_cast<size_t>(count));
  for (int64_t first = 0; first < count; first += step) {
    const int64_t n = std::min(step, count - first);
    float* hidden = rows.hidden + first * width;
    logits(head, hidden, n);
    pool_.for_ranges(n, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const auto at = static_cast<size_t>(first + i);
        float* row = logits_.data() + i * vocab;
        const float logit = row[rows.targets[at]], weight = rows.weights[at] * scale;
        float max = 0;
        const float total = grad.exp_row(row, vocab, row, &max);
        log_probabilities_[at] = double{logit} - double{max} - kernels::det_log(double{total});
        k_.scale(row, weight / total, vocab, row);
        row[rows.targets[at]] -= weight;
      }
    });
    const kernels::LinearGradient g{n, vocab, width, logits_.data(), vocab};
    if (dweight != nullptr) kernels::weight_gradient(grad, pool_, g, hidden, width, dweight);
    if (dbias != nullptr) kernels::bias_gradient(k_, pool_, g, dbias);
    kernels::input_gradient(grad, pool_, g, head.w, panel_, dhidden_.data(), width, false);
    std::memcpy(hidden, dhidden_.data(), static_cast<size_t>(n * width) * sizeof(float));
  }
  LossSums sums;
  for (size_t i = 0; i < rows.targets.size(); ++i) {
    sums.weighted -= double{rows.weights[i]} * log_probabilities_[i];
    sums.weight += double{rows.weights[i]};
  }
  sums.count = count;
  return sums;
}

}  // namespace geist::train
