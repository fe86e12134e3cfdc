// Which layers' keys and values lie in which part of a page, and where (page.h).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/kv_page.h"

namespace geist::model {

using kernels::KvType;

struct KvLayout {
  struct Layer {
    bool window;     // in the window part; else in the full one
    int64_t offset;  // in its part, in bytes
  };
  kernels::KvShape shape;
  std::vector<Layer> layers;
  int64_t full_bytes = 0, window_bytes = 0;  // of one page; 0: the model has no such layers
};

// local_layers[i]: layer i attends within a sliding window. Nothing when the sizes overflow.
std::optional<KvLayout> make_kv_layout(const kernels::KvShape& shape,
                                       const std::vector<bool>& local_layers);

}  // namespace geist::model
