// Speed of the float kernels, beside what this machine can do (limits: multiply-adds in registers,
// reading far beyond the caches). One thread. Counters: GFLOP/s counts a multiply-add as two; GB/s
// counts each byte of weights, keys or values once.
#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/machine_limits.h"

namespace geist::kernels {
namespace {

using Floats = std::vector<float>;

Floats ramp(size_t n) {
  Floats out(n);
  for (size_t i = 0; i < n; ++i) out[i] = 0.001f * static_cast<float>(i % 1009) - 0.5f;
  return out;
}

void set_rates(benchmark::State& state, double flops, double bytes) {
  using benchmark::Counter;
  const auto rate = Counter::kIsIterationInvariantRate;
  if (flops > 0) state.counters["GFLOP/s"] = Counter(flops * 1e-9, rate);
  if (bytes > 0) state.counters["GB/s"] = Counter(bytes * 1e-9, rate);
}

// ---- products

void matmul(benchmark::State& state, const Kernels* k, TensorType type, int64_t rows, int64_t cols,
            int64_t tokens) {
  const int64_t size = type == TensorType::kF32 ? 4 : 2;
  // Enough matrices to leave the caches when there is one token.
  const int64_t copies = tokens == 1 ? (int64_t{600} << 20) / (rows * cols * size) + 1 : 1;
  const size_t bytes = static_cast<size_t>(rows * cols * size);
  std::vector<std::byte> w(bytes * static_cast<size_t>(copies), std::byte{0x3c});
  const Floats x = ramp(static_cast<size_t>(tokens * cols));
  Floats y(static_cast<size_t>(rows * tokens));
  int64_t copy = 0;
  for (auto _ : state) {
    k->matmul_float(type, w.data() + static_cast<size_t>(copy) * bytes, cols * size, rows, cols,
                    x.data(), cols, tokens, y.data(), rows);
    copy = copy + 1 < copies ? copy + 1 : 0;
    benchmark::DoNotOptimize(y.data());
  }
  set_rates(state, 2.0 * static_cast<double>(rows * cols * tokens), static_cast<double>(bytes));
}

// ---- attention

struct Pages {
  std::vector<std::byte> data;
  std::vector<AttentionPage> list;
  Pages(const AttentionShape& s, int64_t tokens, KvType type) {
    const int64_t count = (tokens + kPageTokens - 1) / kPageTokens;
    const KvShape shape{s.kv_heads, s.key_dim, s.value_dim, type};
    const int64_t bytes = *kv_layer_bytes(shape);
    data.resize(static_cast<size_t>(count * bytes));
    const Floats row = ramp(static_cast<size_t>(int64_t{s.kv_heads} * (s.key_dim + s.value_dim)));
    for (int64_t t = 0; t < count * kPageTokens; ++t)
      kv_store(shape, data.data() + t / kPageTokens * bytes, static_cast<int32_t>(t % kPageTokens),
               row.data(), row.data() + int64_t{s.kv_heads} * s.key_dim);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t left = tokens - i * kPageTokens;
      list.push_back({data.data() + i * bytes,
                      static_cast<int32_t>(left < kPageTokens ? left : kPageTokens),
                      static_cast<int32_t>(i * kPageTokens), 0, type});
    }
  }
};

// The last `count` of `context` positions attend causally; all heads.
void attention(benchmark::State& state, const Kernels* k, int heads, int kv_heads, int dim,
               int64_t context, int64_t count, KvType type = KvType::kF32) {
  const AttentionShape shape{heads, kv_heads, dim, dim, 0.088f, 0.0f, nullptr, nullptr};
  const Pages pages(shape, context, type);
  const Floats q = ramp(static_cast<size_t>(count * heads * dim));
  Floats out(q.size());
  std::vector<AttentionQuery> queries;
  double keys = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t pos = static_cast<int32_t>(context - count + i);
    queries.push_back({q.data() + i * heads * dim, out.data() + i * heads * dim, pages.list.data(),
                       static_cast<int32_t>(pages.list.size()), 0, pos + 1, pos, ~uint64_t{0}});
    keys += pos + 1;
  }
  for (auto _ : state) {
    const int group = heads / kv_heads;
    for (int h = 0; h < heads; h += group) k->attention(shape, queries.data(), count, h, group);
    benchmark::DoNotOptimize(out.data());
  }
  const double bytes = count == 1 ? static_cast<double>(pages.data.size()) : 0;
  set_rates(state, keys * heads * dim * 4, bytes);
}

// ---- rows

using RowKernel = void (*)(const Kernels&, const float*, const float*, int64_t, float*);

void row(benchmark::State& state, const Kernels* k, RowKernel kernel) {
  const int64_t n = 4096;
  const Floats a = ramp(n), b = ramp(n);
  Floats out(n);
  for (auto _ : state) {
    kernel(*k, a.data(), b.data(), n, out.data());
    benchmark::DoNotOptimize(out.data());
  }
  state.counters["Gelement/s"] = benchmark::Counter(static_cast<double>(n) * 1e-9,
                                                    benchmark::Counter::kIsIterationInvariantRate);
}

// ---- registration

void limits(benchmark::State& state, const Kernels* k) {
  ThreadPool one(1);
  MachineLimits limits;
  for (auto _ : state) limits = measure_machine_limits(k->isa, one);
  state.counters["GFLOP/s"] = limits.float_ops_per_s * 1e-9;
  state.counters["GB/s"] = limits.read_bytes_per_s * 1e-9;
}

void register_isa(const Kernels* k) {
  const auto name = [&](const std::string& what) { return what + "/" + std::string(k->name); };
  const auto add = [&](const std::string& what, auto call) {
    benchmark::RegisterBenchmark(name(what).c_str(), call)->Unit(benchmark::kMicrosecond);
  };
  benchmark::RegisterBenchmark(name("limits").c_str(), limits, k)->Iterations(1);
  const std::pair<const char*, TensorType> types[] = {
      {"f32", TensorType::kF32}, {"f16", TensorType::kF16}, {"bf16", TensorType::kBF16}};
  for (const auto& [type_name, type] : types) {
    const TensorType t = type;
    const std::string base = std::string("matmul_") + type_name;
    add(base + "_decode_2048x2048", [=](benchmark::State& s) { matmul(s, k, t, 2048, 2048, 1); });
    add(base + "_decode_2048x5632", [=](benchmark::State& s) { matmul(s, k, t, 2048, 5632, 1); });
    add(base + "_4_tokens", [=](benchmark::State& s) { matmul(s, k, t, 2048, 2048, 4); });
    if (k->isa == Isa::kPortable) continue;  // seconds each, and of no interest
    add(base + "_128_tokens", [=](benchmark::State& s) { matmul(s, k, t, 2048, 2048, 128); });
    add(base + "_512_tokens", [=](benchmark::State& s) { matmul(s, k, t, 512, 4096, 512); });
    add(base + "_128_tokens_288", [=](benchmark::State& s) { matmul(s, k, t, 768, 288, 128); });
  }
  add("attention_prefill_512_gqa8_d64",
      [=](benchmark::State& s) { attention(s, k, 8, 1, 64, 512, 512); });
  add("attention_prefill_512_mha_d128",
      [=](benchmark::State& s) { attention(s, k, 2, 2, 128, 512, 512); });
  if (k->isa != Isa::kPortable)
    add("attention_prefill_4096_gqa4_d128",
        [=](benchmark::State& s) { attention(s, k, 4, 1, 128, 4096, 256); });
  add("attention_decode_4096_gqa8_d64",
      [=](benchmark::State& s) { attention(s, k, 32, 4, 64, 4096, 1); });
  add("attention_decode_2048_mha_d128",
      [=](benchmark::State& s) { attention(s, k, 16, 16, 128, 2048, 1); });
  using K = const Kernels&;
  using P = const float*;
  const std::pair<const char*, RowKernel> rows[] = {
      {"rms_norm", [](K t, P a, P b, int64_t n, float* o) { t.rms_norm(a, b, 1e-5f, n, o); }},
      {"softmax", [](K t, P a, P, int64_t n, float* o) { t.softmax(a, n, o); }},
      {"silu_mul", [](K t, P a, P b, int64_t n, float* o) { t.silu_mul(a, b, n, o); }},
      {"gelu_mul", [](K t, P a, P b, int64_t n, float* o) { t.gelu_mul(a, b, n, o); }},
      {"add", [](K t, P a, P b, int64_t n, float* o) { t.add(a, b, n, o); }}};
  for (const auto& [row_name, kernel] : rows) {
    const RowKernel f = kernel;
    add(row_name, [=](benchmark::State& s) { row(s, k, f); });
  }
}

const bool registered = [] {
  for (const Isa isa : {Isa::kPortable, Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (const Kernels* k = kernels_for(isa)) register_isa(k);
  }
  return true;
}();

}  // namespace
}  // namespace geist::kernels
