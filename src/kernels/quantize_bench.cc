// Weights a second of the encoders and decoders, on one core. ggml's encoders on the same machine:
// docs/log.md.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "base/rng.h"
#include "kernels/block.h"

namespace geist::kernels {
namespace {

constexpr int64_t kCols = 4096;

std::vector<float> weights() {
  RandomStream random(7, "gaussian");
  std::vector<float> values(kCols);
  for (float& value : values) {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += random.next_double();
    value = static_cast<float>(sum);
  }
  return values;
}

void bench_quantize(benchmark::State& state, TensorType type) {
  const auto values = weights();
  std::vector<std::byte> row(static_cast<size_t>(*row_bytes(type, kCols)));
  for (auto _ : state) {
    quantize_row(type, values.data(), kCols, row.data());
    benchmark::DoNotOptimize(row.data());
  }
  state.SetItemsProcessed(state.iterations() * kCols);
}

void bench_dequantize(benchmark::State& state, TensorType type) {
  RandomStream random(1, "bytes");
  std::vector<std::byte> row(static_cast<size_t>(*row_bytes(type, kCols)));
  for (std::byte& b : row) b = static_cast<std::byte>(random.next_u64() & 0x3f);
  std::vector<float> out(kCols);
  for (auto _ : state) {
    dequantize_row(type, row.data(), kCols, out.data());
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations() * kCols);
}

const int registered = [] {
  for (uint32_t number = 0; number < 64; ++number) {
    const auto info = tensor_type_info(number);
    if (!info || info->type == TensorType::kI32) continue;
    const std::string name(info->name);
    benchmark::RegisterBenchmark(("dequantize/" + name).c_str(), bench_dequantize, info->type);
    if (!can_quantize(info->type)) continue;
    benchmark::RegisterBenchmark(("quantize/" + name).c_str(), bench_quantize, info->type);
  }
  return 0;
}();

}  // namespace
}  // namespace geist::kernels
