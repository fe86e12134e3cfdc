#include "kernels/machine_limits.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#if defined(__x86_64__)
#include "kernels/intrinsics_x86.h"
#endif

namespace geist::kernels {
namespace {

constexpr int64_t kReadBytes = int64_t{512} << 20, kPieceBytes = int64_t{8} << 20;
constexpr int kReadRounds = 4;
constexpr int kRepeats = 20;
constexpr int64_t kRounds = 20000;
// More chains than the latency of a multiply-add needs; with their operands they fit the registers.
constexpr int kChains = 12;

// Executes kRounds * kChains instructions and gives how many operations each is.
using Chains = int64_t (*)();

#if defined(__x86_64__)
// The empty asm keeps the compiler from adding a chain up at once or sharing one product among
// them.
#define GEIST_CHAINS(x_init, init, step, constraint)               \
  auto x = (x_init);                                               \
  decltype(init) acc[kChains];                                     \
  _Pragma("GCC unroll 12") for (auto& a : acc) a = (init);         \
  for (int64_t i = 0; i < kRounds; ++i) {                          \
    _Pragma("GCC unroll 12") for (auto& a : acc) {                 \
      a = (step);                                                  \
      __asm__ volatile("" : "+" constraint(a), "+" constraint(x)); \
    }                                                              \
  }

__attribute__((target("avx512f"))) int64_t float_chains_512() {
  GEIST_CHAINS(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.5f), _mm512_fmadd_ps(a, x, x), "v")
  return 32;
}
__attribute__((target("avx2,fma"))) int64_t float_chains_256() {
  GEIST_CHAINS(_mm256_set1_ps(0.5f), _mm256_set1_ps(0.5f), _mm256_fmadd_ps(a, x, x), "x")
  return 16;
}
__attribute__((target("avx512f,avx512vnni"))) int64_t int8_chains_512() {
  GEIST_CHAINS(_mm512_set1_epi8(1), _mm512_setzero_si512(), _mm512_dpbusd_epi32(a, x, x), "v")
  return 128;
}
// Without VNNI a multiply-add is three instructions: products in pairs, pairs of pairs, the sum.
__attribute__((target("avx512f,avx512bw"))) int64_t int8_chains_512_plain() {
  const __m512i ones = _mm512_set1_epi16(1);
  GEIST_CHAINS(_mm512_set1_epi8(1), _mm512_setzero_si512(),
               _mm512_add_epi32(a, _mm512_madd_epi16(_mm512_maddubs_epi16(x, x), ones)), "v")
  return 128;
}
__attribute__((target("avx2"))) int64_t int8_chains_256() {
  const __m256i ones = _mm256_set1_epi16(1);
  GEIST_CHAINS(_mm256_set1_epi8(1), _mm256_setzero_si256(),
               _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_maddubs_epi16(x, x), ones)), "x")
  return 64;
}
#undef GEIST_CHAINS
#endif

template <typename F>
double seconds_of(F&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double chain_rate(Chains chains, ThreadPool& pool) {
  if (chains == nullptr) return 0;
  std::vector<int64_t> ops(static_cast<size_t>(pool.size()));
  double seconds = 1e30;
  for (int i = 0; i < kRepeats; ++i) {
    seconds = std::min(seconds, seconds_of([&] {
                         pool.run([&](int worker) { ops[static_cast<size_t>(worker)] = chains(); });
                       }));
  }
  return static_cast<double>(ops[0]) * kRounds * kChains * pool.size() / seconds;
}

}  // namespace

#if defined(__x86_64__)
__attribute__((target("avx2"))) int32_t read_all(const std::byte* data, int64_t bytes) {
  __m256i sum[8] = {};
  for (int64_t i = 0; i < bytes; i += 256) {
    for (int j = 0; j < 8; ++j)
      sum[j] = _mm256_xor_si256(
          sum[j], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + i + 32 * j)));
  }
  for (int j = 1; j < 8; ++j) sum[0] = _mm256_xor_si256(sum[0], sum[j]);
  return _mm256_extract_epi32(sum[0], 0) ^ _mm256_extract_epi32(sum[0], 5);
}
#else
int32_t read_all(const std::byte* data, int64_t bytes) {
  uint64_t sum[8] = {};
  for (int64_t i = 0; i < bytes; i += 64) {
    uint64_t words[8];
    std::memcpy(words, data + i, sizeof words);
    for (int j = 0; j < 8; ++j) sum[j] ^= words[j];
  }
  for (int j = 1; j < 8; ++j) sum[0] ^= sum[j];
  return static_cast<int32_t>(sum[0] ^ (sum[0] >> 32));
}
#endif

MachineLimits measure_machine_limits([[maybe_unused]] Isa isa, ThreadPool& pool) {
  MachineLimits limits;
  Chains float_chains = nullptr, int8_chains = nullptr;
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) {
    float_chains = float_chains_512;
    int8_chains = __builtin_cpu_supports("avx512vnni") ? int8_chains_512 : int8_chains_512_plain;
  } else if (isa == Isa::kAvx2) {
    float_chains = float_chains_256;
    int8_chains = int8_chains_256;
  }
#endif
  limits.float_ops_per_s = chain_rate(float_chains, pool);
  limits.int8_ops_per_s = chain_rate(int8_chains, pool);

#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2")) return limits;
#endif
  std::vector<std::byte> memory(kReadBytes, std::byte{1});
  std::vector<int32_t> sums(static_cast<size_t>(pool.size()) * 16);  // a cache line each
  // In pieces, each timed by itself, so that a moment when others have the processor spoils only
  // one; round by round, so that a piece has left the caches when it is read again.
  const int64_t share = kPieceBytes / pool.size() / 4096 * 4096;
  std::vector<double> best(kReadBytes / kPieceBytes, 1e30);
  for (int round = 0; round < kReadRounds; ++round) {
    for (size_t piece = 0; piece < best.size(); ++piece) {
      const std::byte* from = memory.data() + static_cast<int64_t>(piece) * kPieceBytes;
      best[piece] = std::min(best[piece], seconds_of([&] {
                               pool.run([&](int worker) {
                                 sums[static_cast<size_t>(worker) * 16] +=
                                     read_all(from + worker * share, share);
                               });
                             }));
    }
  }
  double seconds = 0;
  for (const double piece : best) seconds += piece;
  limits.read_bytes_per_s =
      static_cast<double>(share * pool.size()) * static_cast<double>(best.size()) / seconds;
  return limits;
}

}  // namespace geist::kernels
