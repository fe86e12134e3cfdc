#include "kernels/panel.h"

namespace geist::kernels {
namespace {

constexpr PanelFormat kNoPanels{};

}  // namespace

const PanelFormat& panel_format(TensorType type) {
  switch (type) {
#define GEIST_CASE(name) \
  case TensorType::name: \
    return kPanelFormat<TensorType::name>;
    GEIST_FOR_EACH_PANEL_TYPE(GEIST_CASE)
#undef GEIST_CASE
    default:
      return kNoPanels;
  }
}

int64_t panel_bytes(TensorType type, int64_t cols) {
  const PanelFormat& format = panel_format(type);
  if (format.low_bits == 0) return 0;
  const int64_t chunks = cols / kChunkCols;
  return chunks * format.chunk_bytes() + chunks / kChunksPerSuper * format.header_bytes();
}

}  // namespace geist::kernels
