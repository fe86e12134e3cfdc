// Work is cut into spans of panels (16 rows) over all jobs together. With few tokens the product is
// limited by reading weights: every thread takes one contiguous share of equal bytes. With many it
// is limited by arithmetic: spans are handed out one by one, so that a thread that is slowed down
// by another program does not hold up the rest. Small products are not cut: their inputs and
// results would cross from core to core for longer than they take.
#include "kernels/matmul.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernels/block.h"
#include "kernels/panel.h"

namespace geist::kernels {
namespace {

constexpr int64_t kManyTokens = 16;
// Of work handed out one by one: as many as the kernel takes at once, fewer where threads would
// wait for the last.
constexpr int64_t kSpanPanels = 32, kSpansPerThread = 6;
constexpr int64_t kScratchBytes = 256 << 10;   // of panels packed on the fly
constexpr int64_t kSerialQuantize = 16 << 10;  // floats; below, a parallel region costs more
constexpr int64_t kSerialProduct = 256 << 10;  // bytes of weights times tokens, likewise

int64_t panel_count(const Matrix& w) { return (w.rows + kPanelRows - 1) / kPanelRows; }

int64_t bytes_of_row(const Matrix& w) { return *row_bytes(w.type, w.cols); }

// Panels packed as they are used, a few at a time, into memory that lives as long as the span.
class PanelScratch {
 public:
  std::byte* get(int64_t bytes) {
    if (bytes > size_) {
      memory_.reset(static_cast<std::byte*>(
          ::operator new (static_cast<size_t>(bytes), std::align_val_t{64})));
      size_ = bytes;
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(std::byte* p) const { ::operator delete (p, std::align_val_t{64}); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  int64_t size_ = 0;
};

struct Call {
  const Kernels& kernels;
  const Activations& x;
  const Q8Block* q8;  // null when no job is quantised
};

void multiply_unpacked(const Call& call, const Matrix& w, int64_t row, int64_t rows, float* y,
                       int64_t y_stride, PanelScratch& scratch) {
  const int64_t bytes = panel_bytes(w.type, w.cols), stride = bytes_of_row(w);
  const int64_t step = std::max<int64_t>(1, kScratchBytes / bytes) * kPanelRows;
  std::byte* panels =
      scratch.get(std::min((rows + kPanelRows - 1) / kPanelRows, step / kPanelRows) * bytes);
  for (int64_t r = 0; r < rows; r += step) {
    const int64_t count = std::min(step, rows - r);
    for (int64_t p = 0; p < count; p += kPanelRows)
      call.kernels.pack_panel(w.type, w.data + (row + r + p) * stride, stride,
                              std::min<int64_t>(kPanelRows, count - p), w.cols,
                              panels + p / kPanelRows * bytes);
    call.kernels.matmul_panels(w.type, panels, count, w.cols, call.q8, call.x.tokens(), y + r,
                               y_stride);
  }
}

void multiply_rows(const Call& call, const MatmulJob& job, int64_t row, int64_t rows,
                   PanelScratch& scratch) {
  const Matrix& w = *job.w;
  float* y = job.y + row;
  if (!is_quantized(w.type)) {
    const int64_t stride = bytes_of_row(w);
    call.kernels.matmul_float(w.type, w.data + row * stride, stride, rows, w.cols, call.x.data(),
                              call.x.stride(), call.x.tokens(), y, job.y_stride);
  } else if (w.panels != nullptr) {
    call.kernels.matmul_panels(w.type, w.panels + row / kPanelRows * panel_bytes(w.type, w.cols),
                               rows, w.cols, call.q8, call.x.tokens(), y, job.y_stride);
  } else {
    multiply_unpacked(call, w, row, rows, y, job.y_stride, scratch);
  }
  if (job.bias == nullptr) return;
  for (int64_t t = 0; t < call.x.tokens(); ++t)
    for (int64_t r = 0; r < rows; ++r) y[t * job.y_stride + r] += job.bias[row + r];
}

// All panels of all jobs in one line, weighted by the bytes that a panel reads.
class WorkLine {
 public:
  explicit WorkLine(std::span<const MatmulJob> jobs) : jobs_(jobs) {
    for (const MatmulJob& job : jobs) cost_ += panel_count(*job.w) * panel_cost(*job.w);
  }

  int64_t cost() const { return cost_; }

  // Calls f(job, first row, rows) for the panels that begin at costs in [begin, end).
  template <typename F>
  void visit(int64_t begin, int64_t end, F&& f) const {
    int64_t start = 0;
    for (const MatmulJob& job : jobs_) {
      const int64_t one = panel_cost(*job.w), count = panel_count(*job.w);
      const int64_t first = std::clamp<int64_t>((begin - start + one - 1) / one, 0, count);
      const int64_t last = std::clamp<int64_t>((end - start + one - 1) / one, 0, count);
      const int64_t row = first * kPanelRows;
      const int64_t rows = std::min(last * kPanelRows, job.w->rows) - row;
      if (first < last) f(job, row, rows);
      start += one * count;
    }
  }

 private:
  static int64_t panel_cost(const Matrix& w) { return kPanelRows * bytes_of_row(w); }

  std::span<const MatmulJob> jobs_;
  int64_t cost_ = 0;
};

void check_job(const MatmulJob& job, const Activations& x) {
  const Matrix& w = *job.w;
  GEIST_CHECK(w.cols == x.cols() && w.cols > 0 && row_bytes(w.type, w.cols).has_value());
  GEIST_CHECK(!is_quantized(w.type) || panel_bytes(w.type, w.cols) > 0);
}

}  // namespace

int64_t packed_bytes(const Matrix& w) { return panel_count(w) * panel_bytes(w.type, w.cols); }

void pack_matrix(const Kernels& kernels, ThreadPool& pool, const Matrix& w, std::byte* dst,
                 const RowSource& source) {
  const int64_t bytes = panel_bytes(w.type, w.cols), stride = bytes_of_row(w);
  if (bytes == 0) return;
  // A few panels' rows at a time, which stay in the second level of cache.
  const int64_t step = source ? std::max<int64_t>(1, kScratchBytes / (kPanelRows * stride)) : 1;
  pool.for_ranges(panel_count(w), 1, [&](int64_t begin, int64_t end) {
    PanelScratch scratch;
    std::byte* const buffer = source ? scratch.get(step * kPanelRows * stride) : nullptr;
    for (int64_t first = begin; first < end; first += step) {
      const int64_t last = std::min(first + step, end), row = first * kPanelRows;
      const std::byte* from = source
                                  ? source(row, std::min(last * kPanelRows, w.rows) - row, buffer)
                                  : w.data + row * stride;
      for (int64_t p = first; p < last; ++p, from += kPanelRows * stride)
        kernels.pack_panel(w.type, from, stride,
                           std::min<int64_t>(kPanelRows, w.rows - p * kPanelRows), w.cols,
                           dst + p * bytes);
    }
  });
}

void Activations::set(const float* x, int64_t tokens, int64_t cols, int64_t stride) {
  x_ = x;
  tokens_ = tokens;
  cols_ = cols;
  stride_ = stride;
  quantized_ = false;
}

const Q8Block* Activations::quantized(const Kernels& kernels, ThreadPool& pool) {
  if (quantized_) return blocks_.data();
  GEIST_CHECK(cols_ % 32 == 0);
  const int64_t count = q8_count(tokens_, cols_);
  if (static_cast<int64_t>(blocks_.size()) < count) blocks_.resize(static_cast<size_t>(count));
  const auto rows = [&](int64_t begin, int64_t end) {
    constexpr int64_t kSlab = kSlabBlocks * 32;
    for (int64_t t = begin; t < end; ++t)
      for (int64_t k = 0; k < cols_; k += kSlab)
        kernels.quantize_q8(x_ + t * stride_ + k, std::min(kSlab, cols_ - k),
                            blocks_.data() + q8_index(tokens_, t, k / 32));
  };
  if (tokens_ * cols_ < kSerialQuantize) {
    rows(0, tokens_);
  } else {
    pool.for_ranges(tokens_, 1, rows);
  }
  quantized_ = true;
  return blocks_.data();
}

void matmul(const Kernels& kernels, ThreadPool& pool, Activations& x,
            std::span<const MatmulJob> jobs) {
  if (x.tokens() == 0) return;
  bool any_quantized = false;
  for (const MatmulJob& job : jobs) {
    check_job(job, x);
    any_quantized |= is_quantized(job.w->type);
  }
  const Call call{kernels, x, any_quantized ? x.quantized(kernels, pool) : nullptr};
  const WorkLine line(jobs);
  const auto span = [&](int64_t begin, int64_t end) {
    PanelScratch scratch;
    line.visit(begin, end, [&](const MatmulJob& job, int64_t row, int64_t rows) {
      multiply_rows(call, job, row, rows, scratch);
    });
  };
  if (line.cost() * x.tokens() < kSerialProduct) return span(0, line.cost());
  if (x.tokens() < kManyTokens || pool.size() == 1) {
    pool.for_ranges(line.cost(), 1, span);
    return;
  }
  const int64_t one = kPanelRows * bytes_of_row(*jobs[0].w);
  const int64_t share = line.cost() / (one * pool.size() * kSpansPerThread);
  const int64_t span_cost = std::clamp<int64_t>(share & ~1, 2, kSpanPanels) * one;
  pool.for_each((line.cost() + span_cost - 1) / span_cost, [&](int64_t i) {
    span(i * span_cost, std::min((i + 1) * span_cost, line.cost()));
  });
}

void matrix_row(const Matrix& w, int64_t row, float* out) {
  dequantize_row(w.type, w.data + row * bytes_of_row(w), w.cols, out);
}

}  // namespace geist::kernels
