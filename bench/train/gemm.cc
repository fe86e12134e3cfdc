// The matrix products of a training step of GPT-2 124M (B=4, T=256) beside OpenBLAS's SGEMM in
// turn: forward (y = x w^T), the input's gradient (dx += dy w) and the weights' (dw += dy^T x).
// CSV: medians of GFLOP/s, the median of paired ratios, and the peak of multiply-adds in registers
// measured in the same run. Without OpenBLAS its columns are empty.
//
// usage: gemm_bench [-t THREADS] [--rounds N] [--tokens N] [--blas LIBRARY]
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "kernels/grad_matmul.h"
#include "kernels/machine_limits.h"
#include "kernels/matmul.h"

namespace geist::kernels {
namespace {

struct Arguments {
  int threads = 1, rounds = 5;
  int64_t tokens = 1024;
  std::string blas = "libopenblas.so.0";
};

// Of cblas.h; the numbers are the interface's.
enum Order { kRowMajor = 101 };
enum Transposed { kAsItIs = 111, kTransposed = 112 };
using Sgemm = void (*)(Order, Transposed, Transposed, int m, int n, int k, float alpha,
                       const float* a, int lda, const float* b, int ldb, float beta, float* c,
                       int ldc);

Sgemm load_blas(const Arguments& a) {
  void* module = dlopen(a.blas.c_str(), RTLD_NOW);
  if (module == nullptr) return nullptr;
  using SetThreads = void (*)(int);
  const auto set = reinterpret_cast<SetThreads>(dlsym(module, "openblas_set_num_threads"));
  if (set != nullptr) set(a.threads);
  return reinterpret_cast<Sgemm>(dlsym(module, "cblas_sgemm"));
}

struct Shape {
  const char* name;
  int64_t rows, cols;  // of the weights: outputs, inputs
};
constexpr Shape kShapes[] = {
    {"qkv", 2304, 768}, {"out", 768, 768}, {"up", 3072, 768}, {"down", 768, 3072}};

double seconds(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

std::vector<float> ramp(int64_t n) {
  std::vector<float> out(static_cast<size_t>(n));
  for (size_t i = 0; i < out.size(); ++i) out[i] = 0.001f * static_cast<float>(i % 1009) - 0.5f;
  return out;
}

class Bench {
 public:
  Bench(const Kernels& kernels, const Arguments& arguments)
      : a_(arguments),
        k_(kernels),
        g_(*grad_kernels_for(k_.isa)),
        pool_(arguments.threads),
        sgemm_(load_blas(arguments)) {
    peak_ = measure_machine_limits(k_.isa, pool_).float_ops_per_s;
    if (sgemm_ == nullptr)
      std::fprintf(stderr, "gemm_bench: no %s (Debian: libopenblas0-pthread); alone\n",
                   a_.blas.c_str());
    std::printf(
        "product,tokens,outputs,inputs,threads,geist_gflops,openblas_gflops,ratio,fma_peak_gflops,"
        "load_average\n");
  }

  void run(const Shape& s) {
    const int64_t t = a_.tokens;
    x_ = ramp(t * s.cols);
    w_ = ramp(s.rows * s.cols);
    y_ = ramp(t * s.rows);
    const int m = static_cast<int>(t), n = static_cast<int>(s.rows), k = static_cast<int>(s.cols);
    const LinearGradient g{t, s.rows, s.cols, y_.data(), s.rows};
    compare(
        "forward", s, [&] { forward(s); },
        [&] {
          sgemm_(kRowMajor, kAsItIs, kTransposed, m, n, k, 1, x_.data(), k, w_.data(), k, 0,
                 y_.data(), n);
        });
    compare(
        "input_gradient", s,
        [&] { input_gradient(g_, pool_, g, w_.data(), x_.data(), s.cols, false); },
        [&] {
          sgemm_(kRowMajor, kAsItIs, kAsItIs, m, k, n, 1, y_.data(), n, w_.data(), k, 0, x_.data(),
                 k);
        });
    compare(
        "weight_gradient", s, [&] { weight_gradient(g_, pool_, g, x_.data(), s.cols, w_.data()); },
        [&] {
          sgemm_(kRowMajor, kTransposed, kAsItIs, n, k, m, 1, y_.data(), n, x_.data(), k, 1,
                 w_.data(), k);
        });
  }

 private:
  void forward(const Shape& s) {
    const Matrix w{TensorType::kF32, s.rows, s.cols, reinterpret_cast<std::byte*>(w_.data())};
    activations_.set(x_.data(), a_.tokens, s.cols, s.cols);
    const MatmulJob job{&w, nullptr, y_.data(), s.rows};
    matmul(k_, pool_, activations_, {&job, 1});
  }

  void compare(const char* product, const Shape& s, const std::function<void()>& ours,
               const std::function<void()>& theirs) {
    std::vector<double> own, peer, ratio;
    for (int round = -1; round < a_.rounds; ++round) {  // the first warms up
      const double ours_s = seconds(ours), peer_s = sgemm_ != nullptr ? seconds(theirs) : 0;
      if (round < 0) continue;
      own.push_back(ours_s);
      peer.push_back(peer_s);
      ratio.push_back(peer_s / ours_s);
    }
    const double flops = 2e-9 * static_cast<double>(a_.tokens * s.rows * s.cols);
    std::printf("%s_%s,%lld,%lld,%lld,%d,%.1f,", s.name, product, static_cast<long long>(a_.tokens),
                static_cast<long long>(s.rows), static_cast<long long>(s.cols), a_.threads,
                flops / median(own));
    if (sgemm_ != nullptr) {
      std::printf("%.1f,%.2f", flops / median(peer), median(ratio));
    } else {
      std::printf(",");
    }
    double load = 0;
    getloadavg(&load, 1);
    std::printf(",%.0f,%.1f\n", peak_ * 1e-9, load);
    std::fflush(stdout);
  }

  Arguments a_;
  const Kernels& k_;
  const GradKernels& g_;
  ThreadPool pool_;
  Sgemm sgemm_;
  double peak_ = 0;
  std::vector<float> x_, w_, y_;
  Activations activations_;
};

bool parse(int argc, char** argv, Arguments* a) {
  for (int i = 1; i < argc; i += 2) {
    const std::string option = argv[i];
    if (i + 1 == argc) return false;
    if (option == "-t") {
      a->threads = std::atoi(argv[i + 1]);
    } else if (option == "--rounds") {
      a->rounds = std::atoi(argv[i + 1]);
    } else if (option == "--tokens") {
      a->tokens = std::atoll(argv[i + 1]);
    } else if (option == "--blas") {
      a->blas = argv[i + 1];
    } else {
      return false;
    }
  }
  return a->threads > 0 && a->rounds > 0 && a->tokens > 0 && a->tokens <= 1 << 20;
}

}  // namespace
}  // namespace geist::kernels

int main(int argc, char** argv) {
  geist::kernels::Arguments arguments;
  if (!geist::kernels::parse(argc, argv, &arguments)) {
    std::fprintf(stderr,
                 "usage: gemm_bench [-t THREADS] [--rounds N] [--tokens N] [--blas LIBRARY]\n");
    return 2;
  }
  const char* error = nullptr;
  const geist::kernels::Kernels* kernels = geist::kernels::default_kernels(&error);
  if (kernels == nullptr) {
    std::fprintf(stderr, "gemm_bench: %s\n", error);
    return 2;
  }
  geist::kernels::Bench bench(*kernels, arguments);
  for (const auto& shape : geist::kernels::kShapes) bench.run(shape);
  return 0;
}
