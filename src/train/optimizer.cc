#include "train/optimizer.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "kernels/math.h"

namespace geist::train {

Result<Optimizer> Optimizer::make(const TrainedModel& trained, const OptimizerOptions& options,
                                  ThreadPool& pool) {
  Optimizer optimizer(trained, options, pool);
  const int64_t size = trained.weights().size();
  GEIST_ASSIGN(optimizer.first_, FloatBlock::make(size));
  GEIST_ASSIGN(optimizer.second_, FloatBlock::make(size));
  optimizer.average_ = trained.weights();
  if (optimizer.has_average()) {
    GEIST_ASSIGN(optimizer.average_, FloatBlock::make(size));
    std::memcpy(optimizer.average_.data(), trained.weights().data(),
                static_cast<size_t>(size) * sizeof(float));
  }
  return optimizer;
}

Status Optimizer::share(Ranks* ranks) {
  if (ranks != nullptr) GEIST_TRY(ranks->check());
  if (ranks != nullptr && (options_.kind != OptimizerKind::kAdamW || has_average()))
    return errorf("several processes train with optimizer.kind = \"adamw\" and no average only");
  ranks_ = ranks;
  return {};
}

void Optimizer::collect() {
  if (ranks_ == nullptr) return;
  ranks_->collect(first_.span());
  ranks_->collect(second_.span());
}

void Optimizer::release() {
  if (ranks_ == nullptr) return;
  int64_t end_of_last = 0;
  const auto drop_before = [&](int64_t begin, int64_t end) {
    first_.drop(end_of_last, begin);
    second_.drop(end_of_last, begin);
    end_of_last = end;
  };
  for_own(drop_before);
  drop_before(first_.size(), first_.size());
}

double Optimizer::gradient_norm(const FloatBlock& gradient) {
  const kernels::Kernels& k = trained_->model().kernels();
  std::vector<double> sums(static_cast<size_t>((gradient.size() + kNormBlock - 1) / kNormBlock));
  for_own([&](int64_t begin, int64_t end) {
    block_squares(k, *pool_, gradient.data() + begin, end - begin,
                  &sums[static_cast<size_t>(begin / kNormBlock)]);
  });
  if (ranks_ != nullptr) ranks_->add(sums);
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

bool Optimizer::takes_muon(const Parameter& p) const {
  return options_.kind == OptimizerKind::kMuon && p.dims.size() == 2 && p.name.starts_with("blk.");
}

Result<StepReport> Optimizer::step(int64_t step, FloatBlock& gradient) {
  StepReport report;
  report.gradient_norm = gradient_norm(gradient);
  if (!std::isfinite(report.gradient_norm)) return report;
  report.clipped = options_.clip > 0 && report.gradient_norm > options_.clip;
  const float scale =
      report.clipped ? static_cast<float>(options_.clip / report.gradient_norm) : 1.0f;
  const double factor = options_.schedule.factor(step);
  report.learning_rate = options_.learning_rate * factor;
  const auto correction = [&](double beta) {
    return static_cast<float>(1.0 / (1.0 - kernels::det_pow(beta, static_cast<double>(step + 1))));
  };
  kernels::AdamStep adam_step{.learning_rate = static_cast<float>(report.learning_rate),
                              .beta1 = static_cast<float>(options_.beta1),
                              .beta2 = static_cast<float>(options_.beta2),
                              .eps = static_cast<float>(options_.eps),
                              .weight_decay = 0,
                              .correction1 = correction(options_.beta1),
                              .correction2 = correction(options_.beta2),
                              .gradient_scale = scale};
  for (const Parameter& p : trained_->parameters()) {
    if (takes_muon(p)) continue;
    adam_step.weight_decay = p.is_matrix() ? static_cast<float>(options_.weight_decay) : 0.0f;
    adam(p, adam_step, gradient.data() + p.offset);
  }
  if (options_.kind == OptimizerKind::kMuon)
    muon(options_.muon_learning_rate * factor, scale, gradient.data());
  if (ranks_ != nullptr) ranks_->gather(trained_->weights().span());
  if (has_average()) update_average();
  return report;
}

void Optimizer::adam(const Parameter& p, const kernels::AdamStep& step, const float* gradient) {
  const kernels::GradKernels& g = *kernels::grad_kernels_for(trained_->model().kernels().isa);
  for_own([&](int64_t own_begin, int64_t own_end) {
    const int64_t first = std::max(own_begin, p.offset);
    const int64_t count = std::min(own_end, p.offset + p.count) - first;
    pool_->for_ranges(count, 4096, [&](int64_t begin, int64_t end) {
      const int64_t at = first + begin;
      g.adam_step(step, gradient + (at - p.offset), end - begin, first_.data() + at,
                  second_.data() + at, trained_->weights().data() + at);
    });
  });
}

// A small matrix stays in the cache of one thread; a large one is shared by all, which need memory
// for one only. The bits are the same.
void Optimizer::muon(double learning_rate, float scale, float* gradient) {
  constexpr int64_t kAlone = int64_t{1} << 20;
  std::vector<const Parameter*> small;
  for (const Parameter& p : trained_->parameters()) {
    if (!takes_muon(p)) continue;
    if (p.count <= kAlone)
      small.push_back(&p);
    else
      muon(p, learning_rate, scale, gradient + p.offset, *pool_, orthogonalizer_);
  }
  while (std::ssize(loners_) < pool_->size())
    loners_.push_back(std::make_unique<Loner>(trained_->model().kernels()));
  std::atomic<size_t> next{0};
  pool_->run([&](int index) {
    Loner& loner = *loners_[static_cast<size_t>(index)];
    for (size_t i = next.fetch_add(1); i < small.size(); i = next.fetch_add(1))
      muon(*small[i], learning_rate, scale, gradient + small[i]->offset, loner.pool,
           loner.orthogonalizer);
  });
}

// m = fma(g, scale, m * momentum); u = fma(m, momentum, g * scale) (Nesterov), made orthogonal;
// w = fma(u, -rate * sqrt(max(1, rows / cols)), w * (1 - rate * decay)).
void Optimizer::muon(const Parameter& p, double learning_rate, float scale, float* gradient,
                     ThreadPool& pool, Orthogonalizer& orthogonalizer) {
  const kernels::Kernels& k = trained_->model().kernels();
  const int64_t cols = p.dims[0], rows = p.dims[1];
  const auto momentum = static_cast<float>(options_.muon_momentum);
  float *m = first_.data() + p.offset, *w = trained_->weights().data() + p.offset;
  pool.for_ranges(p.count, 4096, [&](int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    k.scale(m + begin, momentum, n, m + begin);
    k.add_scaled(m + begin, gradient + begin, scale, n, m + begin);
    k.scale(gradient + begin, scale, n, gradient + begin);
    k.add_scaled(gradient + begin, m + begin, momentum, n, gradient + begin);
  });
  orthogonalizer.run(gradient, rows, cols);
  const double shape =
      std::sqrt(std::max(1.0, static_cast<double>(rows) / static_cast<double>(cols)));
  const auto keep = static_cast<float>(1.0 - learning_rate * options_.weight_decay);
  const auto move = static_cast<float>(-learning_rate * shape);
  pool.for_ranges(p.count, 4096, [&](int64_t begin, int64_t end) {
    k.scale(w + begin, keep, end - begin, w + begin);
    k.add_scaled(w + begin, gradient + begin, move, end - begin, w + begin);
  });
}

void Optimizer::update_average() {
  const kernels::Kernels& k = trained_->model().kernels();
  const auto keep = static_cast<float>(options_.average);
  pool_->for_ranges(average_.size(), 4096, [&](int64_t begin, int64_t end) {
    float* a = average_.data() + begin;
    k.scale(a, keep, end - begin, a);
    k.add_scaled(a, trained_->weights().data() + begin, 1.0f - keep, end - begin, a);
  });
}

}  // namespace geist::train
