// Reads .npy files of golden values (format: numpy.lib.format): float32, little-endian, C order,
// one or two dimensions. For tests only.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"

namespace geist::testing {

struct NpyArray {
  std::vector<int64_t> shape;  // one or two dimensions
  std::vector<float> data;

  int64_t rows() const { return shape.size() == 2 ? shape[0] : 1; }
  int64_t cols() const { return shape.back(); }
  const float* row(int64_t r) const { return data.data() + r * cols(); }
};

// The numbers of the tuple after 'shape': in the header's Python dictionary.
inline std::vector<int64_t> parse_npy_shape(const std::string& header) {
  std::vector<int64_t> shape;
  const size_t key = header.find("'shape'");
  const size_t open = key == std::string::npos ? key : header.find('(', key);
  if (open == std::string::npos) return shape;
  const char* at = header.c_str() + open + 1;
  while (*at != ')' && *at != '\0') {
    char* end = nullptr;
    const int64_t value = std::strtoll(at, &end, 10);
    if (end != at) shape.push_back(value);
    at = end != at ? end : at + 1;
  }
  return shape;
}

inline Result<NpyArray> read_npy(const std::string& path) {
  GEIST_ASSIGN(const std::string bytes, read_file(path));
  if (bytes.size() < 12 || std::string_view(bytes).substr(0, 6) != "\x93NUMPY") {
    return errorf("%s: not an .npy file", path.c_str());
  }
  const auto byte_at = [&](size_t i) {
    return static_cast<size_t>(static_cast<uint8_t>(bytes[i]));
  };
  const bool wide = bytes[6] >= 2;  // versions 2 and 3 have a 32-bit header length
  const size_t start = wide ? 12 : 10;
  const size_t length =
      byte_at(8) | (byte_at(9) << 8) | (wide ? (byte_at(10) << 16) | (byte_at(11) << 24) : 0);
  if (length > bytes.size() - start) return errorf("%s: the header is cut short", path.c_str());
  const std::string header = bytes.substr(start, length);
  if (header.find("'<f4'") == std::string::npos ||
      header.find("'fortran_order': False") == std::string::npos) {
    return errorf("%s: not float32 in C order", path.c_str());
  }
  NpyArray array{parse_npy_shape(header), {}};
  if (array.shape.empty() || array.shape.size() > 2) {
    return errorf("%s: not one or two dimensions", path.c_str());
  }
  const auto count = static_cast<size_t>(array.rows() * array.cols());
  const size_t data = start + length;
  if ((bytes.size() - data) / sizeof(float) != count) {
    return errorf("%s: the data does not fit the shape", path.c_str());
  }
  array.data.resize(count);
  std::memcpy(array.data.data(), bytes.data() + data, count * sizeof(float));
  return array;
}

}  // namespace geist::testing
