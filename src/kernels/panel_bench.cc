// The quantised product beside the limits of the machine, measured in the same run:
//
//   read          GB/s of reading memory far beyond the caches
//   int8_peak     Gop/s of the multiply-add instruction alone (multiply-adds counted as two)
//   decode/TYPE   one token: GB/s of packed weights read
//   prefill/TYPE  512 tokens: Gop/s
//   pack/TYPE     GB/s of file bytes packed
//
// The last argument is the number of threads. GEIST_BENCH_MB sets the size of the matrix that
// decode reads (default 8, so that the benchmark can run as a test; use 256 or more to get beyond
// the third-level cache), GEIST_ISA the instruction set.
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "kernels/machine_limits.h"
#include "kernels/matmul.h"
#include "kernels/panel.h"
#include "kernels/random_rows.h"

namespace geist::kernels {
namespace {

int64_t decode_bytes() {
  const char* megabytes = std::getenv("GEIST_BENCH_MB");
  return (megabytes != nullptr ? std::atoll(megabytes) : 8) << 20;
}

const Kernels& bench_kernels() {
  const char* error = nullptr;
  const Kernels* kernels = default_kernels(&error);
  if (kernels == nullptr) std::abort();
  return *kernels;
}

// Page-aligned memory on large pages where the system has them.
class Memory {
 public:
  explicit Memory(int64_t bytes) : bytes_(static_cast<size_t>(bytes)) {
    void* p = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) std::abort();
    ::madvise(p, bytes_, MADV_HUGEPAGE);
    data_ = static_cast<std::byte*>(p);
  }
  ~Memory() { ::munmap(data_, bytes_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  std::byte* data() { return data_; }

 private:
  size_t bytes_;
  std::byte* data_;
};

// A matrix of random rows (the first 16 repeated) and its panels.
struct BenchMatrix {
  BenchMatrix(TensorType type, int64_t rows, int64_t cols, bool keep_file)
      : file(keep_file ? rows * *row_bytes(type, cols) : 1),
        panels(rows / 16 * panel_bytes(type, cols)) {
    const std::vector<std::byte> some = random_rows(type, 16, cols, 1, /*wild=*/false);
    const Matrix head{.type = type, .rows = 16, .cols = cols, .data = some.data()};
    const int64_t bytes = packed_bytes(head);
    ThreadPool one(1);
    pack_matrix(bench_kernels(), one, head, panels.data());
    for (int64_t p = 1; p < rows / 16; ++p)
      std::memcpy(panels.data() + p * bytes, panels.data(), static_cast<size_t>(bytes));
    for (int64_t p = 0; keep_file && p < rows / 16; ++p)
      std::memcpy(file.data() + p * static_cast<int64_t>(some.size()), some.data(), some.size());
    matrix = {
        .type = type, .rows = rows, .cols = cols, .data = file.data(), .panels = panels.data()};
  }
  Memory file, panels;
  Matrix matrix;
};

// Times every call by itself: the best one is what the machine can do when nobody else uses it.
class Meter {
 public:
  template <typename F>
  void time(F&& f) {
    const auto start = std::chrono::steady_clock::now();
    f();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best_ = std::min(best_, seconds.count());
  }
  // unit: "GB/s" or "Gop/s"; amount: of bytes or operations in one call.
  void report(benchmark::State& state, const std::string& unit, double amount) const {
    state.counters[unit] =
        benchmark::Counter(amount * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
    state.counters["best"] = amount * 1e-9 / best_;
  }

 private:
  double best_ = 1e30;
};

std::vector<float> ramp(int64_t count) {
  std::vector<float> x(static_cast<size_t>(count));
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(static_cast<int>(i * 37 % 201) - 100) * 0.01f;
  return x;
}

void multiply(benchmark::State& state, TensorType type, int64_t rows, int64_t cols,
              int64_t tokens) {
  const BenchMatrix w(type, rows, cols, false);
  const std::vector<float> x = ramp(tokens * cols);
  std::vector<float> y(static_cast<size_t>(tokens * rows));
  ThreadPool pool(static_cast<int>(state.range(0)));
  Activations activations;
  const MatmulJob job{&w.matrix, nullptr, y.data(), rows};
  Meter meter;
  for (auto _ : state) {
    meter.time([&] {
      activations.set(x.data(), tokens, cols, cols);
      matmul(bench_kernels(), pool, activations, {&job, 1});
    });
    benchmark::DoNotOptimize(y.data());
  }
  if (tokens == 1) {
    meter.report(state, "GB/s", static_cast<double>(packed_bytes(w.matrix)));
  } else {
    meter.report(state, "Gop/s", 2.0 * static_cast<double>(rows * cols * tokens));
  }
}

void decode(benchmark::State& state, TensorType type) {
  constexpr int64_t kCols = 2048;
  multiply(state, type, decode_bytes() / panel_bytes(type, kCols) * 16, kCols, 1);
}

void prefill(benchmark::State& state, TensorType type) { multiply(state, type, 1024, 2048, 512); }

void few_tokens(benchmark::State& state, TensorType type) { multiply(state, type, 512, 2048, 4); }

void pack(benchmark::State& state, TensorType type) {
  constexpr int64_t kCols = 2048;
  BenchMatrix w(type, decode_bytes() / panel_bytes(type, kCols) * 16, kCols, true);
  ThreadPool pool(static_cast<int>(state.range(0)));
  Meter meter;
  for (auto _ : state)
    meter.time([&] { pack_matrix(bench_kernels(), pool, w.matrix, w.panels.data()); });
  meter.report(state, "GB/s", static_cast<double>(w.matrix.rows * *row_bytes(type, kCols)));
}

void read(benchmark::State& state) {
  const int64_t bytes = decode_bytes();
  Memory memory(bytes);
  std::memset(memory.data(), 1, static_cast<size_t>(bytes));
  ThreadPool pool(static_cast<int>(state.range(0)));
  Meter meter;
  for (auto _ : state) {
    meter.time([&] {
      pool.for_ranges(bytes, 4096, [&](int64_t begin, int64_t end) {
        benchmark::DoNotOptimize(read_all(memory.data() + begin, end - begin));
      });
    });
  }
  meter.report(state, "GB/s", static_cast<double>(bytes));
}
BENCHMARK(read)->Arg(1)->Arg(2)->UseRealTime();

void int8_peak(benchmark::State& state) {
  ThreadPool pool(static_cast<int>(state.range(0)));
  double rate = 0;
  for (auto _ : state) rate = measure_machine_limits(bench_kernels().isa, pool).int8_ops_per_s;
  state.counters["best"] = rate * 1e-9;
}
BENCHMARK(int8_peak)->Arg(1)->Arg(2)->Iterations(1)->UseRealTime();

const bool registered = [] {
  const TensorType types[] = {
#define GEIST_ROW(name) TensorType::name,
      GEIST_FOR_EACH_PANEL_TYPE(GEIST_ROW)
#undef GEIST_ROW
  };
  const auto add = [](const char* what, TensorType type, void (*f)(benchmark::State&, TensorType)) {
    const std::string name = std::string(what) + "/" + std::string(tensor_type_info(type).name);
    benchmark::RegisterBenchmark(name.c_str(), f, type)->Arg(1)->Arg(2)->UseRealTime();
  };
  for (const TensorType type : types) {
    add("decode", type, decode);
    add("prefill", type, prefill);
    add("tokens4", type, few_tokens);
    add("pack", type, pack);
  }
  return true;
}();

}  // namespace
}  // namespace geist::kernels
