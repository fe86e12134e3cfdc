// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). A draw is a pure function of (seed, stream name, counter), so a sequence can
// be resumed, forked or replayed from three numbers, and streams never share state.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace geist {

// The 128-bit output block of Philox4x32-10 for a 64-bit key and a 128-bit counter.
std::array<uint32_t, 4> philox4x32(uint64_t key, std::array<uint32_t, 4> counter);

// FNV-1a, 64 bits: names a stream. Stable for ever: it is part of the replay format.
constexpr uint64_t stream_id(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

// A named, seeded stream. Copying forks it; position() and seek() save and restore it. The counter
// words are {position low, position high, stream low, stream high}; the key is the seed.
class RandomStream {
 public:
  RandomStream(uint64_t seed, std::string_view name) : RandomStream(seed, stream_id(name)) {}
  RandomStream(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}

  // One Philox block each: word 0 and 1 of the block make the 64 bits (word 1 is the high half).
  uint64_t next_u64();
  // Uniform in [0, 1): the top 53 bits of next_u64() times 2^-53.
  double next_double() { return static_cast<double>(next_u64() >> 11) * 0x1p-53; }
  // Uniform in [0, bound) without bias, bound > 0; may consume several blocks (Lemire 2019).
  uint64_t next_below(uint64_t bound);

  uint64_t position() const { return position_; }
  void seek(uint64_t position) { position_ = position; }

 private:
  uint64_t seed_, stream_, position_ = 0;
};

}  // namespace geist
