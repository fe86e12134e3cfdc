#include "cli/npy.h"

#include <bit>

#include "base/check.h"
#include "base/checked.h"
#include "cli/output.h"

namespace geist::cli {

static_assert(std::endian::native == std::endian::little,
              "values are written as they lie in memory");

Result<NpyWriter> NpyWriter::create(const std::string& path, std::vector<int64_t> shape) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
  int64_t values = 1;
  for (const int64_t extent : shape) {
    header += std::to_string(extent) + ", ";
    const auto product = checked_mul(values, extent);
    if (!product) return errorf("%s: too many numbers for one file", path.c_str());
    values = *product;
  }
  if (shape.size() > 1) header.resize(header.size() - 2);  // "(3, 4)" but "(3, )"
  header += "), }";
  // Magic, version and length take 10 bytes; data begins at a multiple of 64, after a newline.
  const size_t padding = 64 - (10 + header.size() + 1) % 64;
  header += std::string(padding % 64, ' ') + "\n";
  std::optional<AtomicFile> file;
  if (path != "-") {
    GEIST_ASSIGN(AtomicFile created, AtomicFile::create(path));
    file.emplace(std::move(created));
  }
  NpyWriter writer(std::move(file), values);
  const char length[2] = {static_cast<char>(header.size() & 0xff),
                          static_cast<char>(header.size() >> 8)};
  const std::string start = std::string("\x93NUMPY\x01\x00", 8) + std::string(length, 2) + header;
  GEIST_TRY(writer.write(start));
  return writer;
}

Status NpyWriter::write(std::string_view bytes) {
  return file_ ? file_->write(bytes) : write_output(bytes);
}

Status NpyWriter::append(std::span<const float> values) {
  values_left_ -= static_cast<int64_t>(values.size());
  return write({reinterpret_cast<const char*>(values.data()), values.size_bytes()});
}

Status NpyWriter::commit() {
  GEIST_CHECK(values_left_ == 0);
  return file_ ? file_->commit() : Status();  // the program flushes standard output at its end
}

}  // namespace geist::cli
