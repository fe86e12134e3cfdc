#include "cli/npy.h"

#include <bit>

#include "base/check.h"

namespace geist::cli {

static_assert(std::endian::native == std::endian::little,
              "values are written as they lie in memory");

Result<NpyWriter> NpyWriter::create(const std::string& path, std::vector<int64_t> shape) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
  int64_t values = 1;
  for (const int64_t extent : shape) {
    header += std::to_string(extent) + ", ";
    values *= extent;
  }
  if (shape.size() > 1) header.resize(header.size() - 2);  // "(3, 4)" but "(3, )"
  header += "), }";
  // Magic, version and length take 10 bytes; data begins at a multiple of 64, after a newline.
  const size_t padding = 64 - (10 + header.size() + 1) % 64;
  header += std::string(padding % 64, ' ') + "\n";
  auto file = AtomicFile::create(path);
  if (!file.ok()) return file.error();
  const char length[2] = {static_cast<char>(header.size() & 0xff),
                          static_cast<char>(header.size() >> 8)};
  const std::string start = std::string("\x93NUMPY\x01\x00", 8) + std::string(length, 2) + header;
  if (Status status = file->write(start); !status) return status.error();
  return NpyWriter(std::move(*file), values);
}

Status NpyWriter::append(std::span<const float> values) {
  values_left_ -= static_cast<int64_t>(values.size());
  return file_.write(std::as_bytes(values));
}

Status NpyWriter::commit() {
  GEIST_CHECK(values_left_ == 0);
  return file_.commit();
}

}  // namespace geist::cli
