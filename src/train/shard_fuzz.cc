// Any bytes as a shard and as a manifest: read or refused; every document of a shard that was read
// lies within it.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "train/data_stage.h"
#include "train/shard.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace geist;
  (void)train::parse_manifest({reinterpret_cast<const char*>(data), size}, "fuzz").ok();
  const auto read = [](std::span<const std::byte> bytes) {
    const auto view = train::ShardView::parse(bytes, "fuzz");
    if (!view.ok()) return;
    int64_t tokens = 0;
    for (int64_t i = 0; i < view->documents(); ++i)
      for (const text::TokenId id : view->document(i)) tokens += id >= 0 ? 1 : 0;
    GEIST_CHECK(tokens == view->tokens());
  };
  std::vector<std::byte> bytes(size);
  if (size > 0) std::memcpy(bytes.data(), data, size);
  read(bytes);
  // The same with the right sum, or no input would get past it.
  constexpr size_t kSum = sizeof(Sha256Digest);
  if (size < kSum) return 0;
  const Sha256Digest sum = sha256(std::span(bytes).first(size - kSum));
  std::memcpy(bytes.data() + size - kSum, sum.data(), kSum);
  read(bytes);
  return 0;
}
