// A safetensors file in memory, for tests of what reads them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace geist::testing {

// A row-major tensor as a safetensors file holds it.
struct HfTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};
using HfTensors = std::map<std::string, HfTensor>;

inline std::string safetensors_bytes(const HfTensors& tensors) {
  std::string header = "{", data;
  for (const auto& [name, tensor] : tensors) {
    std::string shape;
    for (const int64_t dim : tensor.shape)
      shape += (shape.empty() ? "" : ",") + std::to_string(dim);
    header += (header.size() > 1 ? ",\"" : "\"") + name + "\":{\"dtype\":\"" + tensor.dtype +
              "\",\"shape\":[" + shape + "],\"data_offsets\":[" + std::to_string(data.size()) +
              "," + std::to_string(data.size() + tensor.bytes.size()) + "]}";
    data += tensor.bytes;
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + data;
}

}  // namespace geist::testing
