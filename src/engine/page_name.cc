#include "engine/page_name.h"

#include <bit>
#include <string_view>

#include "kernels/kernels.h"

namespace geist::engine {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are hashed as they lie");

template <typename T>
void add(Sha256& hash, const T& value) {
  hash.update(std::as_bytes(std::span(&value, 1)));
}

void add(Sha256& hash, std::string_view text) {
  add(hash, static_cast<uint64_t>(text.size()));
  hash.update(std::as_bytes(std::span(text)));
}

}  // namespace

PageName root_name(const PageSpace& space) {
  Sha256 hash;
  add(hash, std::string_view("geist pages"));
  add(hash, kPageBytesVersion);
  add(hash, space.weights);
  add(hash, space.adapters);
  add(hash, space.kv_type);
  add(hash, static_cast<uint32_t>(kernels::kPageTokens));
  add(hash, std::string_view(space.domain));
  hash.update(std::as_bytes(space.visibility));
  return hash.finish();
}

PageName page_name(const PageName& parent, int32_t first_pos, uint32_t label,
                   std::span<const text::TokenId> tokens) {
  Sha256 hash;
  add(hash, parent);
  add(hash, first_pos);
  add(hash, label);
  add(hash, static_cast<uint32_t>(tokens.size()));
  hash.update(std::as_bytes(tokens));
  return hash.finish();
}

}  // namespace geist::engine
