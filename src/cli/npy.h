// Writes NumPy's .npy files (format version 1.0): little-endian float32, row-major.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"

namespace geist::cli {

// Rows are appended as they are made; the shape is stated first. commit() fails when the number of
// values is not the shape's product. The path "-" is standard output.
class NpyWriter {
 public:
  static Result<NpyWriter> create(const std::string& path, std::vector<int64_t> shape);
  Status append(std::span<const float> values);
  Status commit();

 private:
  NpyWriter(std::optional<AtomicFile> file, int64_t values)
      : file_(std::move(file)), values_left_(values) {}
  Status write(std::string_view bytes);
  std::optional<AtomicFile> file_;  // nothing: standard output
  int64_t values_left_;
};

}  // namespace geist::cli
