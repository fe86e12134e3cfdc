// SHA-256 (FIPS 180-4, by OpenSSL), for file digests and page names.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace geist {

using Sha256Digest = std::array<uint8_t, 32>;

// Incremental; not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  void update(std::span<const std::byte> bytes);
  // The digest of all bytes so far. Call once.
  Sha256Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Sha256Digest sha256(std::span<const std::byte> bytes);
std::string to_hex(std::span<const uint8_t> bytes);

}  // namespace geist
