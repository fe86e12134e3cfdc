#include "model/kv_layout.h"

#include "base/checked.h"

namespace geist::model {

std::optional<KvLayout> make_kv_layout(const kernels::KvShape& shape,
                                       const std::vector<bool>& local_layers) {
  KvLayout layout;
  layout.shape = shape;
  const std::optional<int64_t> layer_bytes = kernels::kv_layer_bytes(shape);
  if (!layer_bytes) return std::nullopt;
  for (const bool local : local_layers) {
    int64_t& part = local ? layout.window_bytes : layout.full_bytes;
    layout.layers.push_back({local, part});
    const std::optional<int64_t> end = checked_add(part, *layer_bytes);
    if (!end) return std::nullopt;
    part = *end;
  }
  return layout;
}

}  // namespace geist::model
