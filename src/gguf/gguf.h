// GGUF, the parameters file (specification: ggml repository, docs/gguf.md; versions 2 and 3,
// little-endian). Opening reads and checks the header only: no tensor data is touched, so a file
// larger than memory opens at once. Every size is checked before it is multiplied, every extent
// against the file.
//
// A File is immutable and may be read from many threads. Spans point into the mapping and live as
// long as the File.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "kernels/tensor_type.h"

namespace geist::gguf {

enum class ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};
std::string_view value_type_name(ValueType type);

// A metadata value. Integers of every width are held as int64 or uint64, floats as double; `type`
// keeps the width for writing. Arrays hold one element type; arrays of arrays are refused.
struct Value {
  ValueType type = ValueType::kU32;
  ValueType element_type = ValueType::kU32;  // of arrays
  std::variant<uint64_t, int64_t, double, bool, std::string, std::vector<uint64_t>,
               std::vector<int64_t>, std::vector<double>, std::vector<bool>,
               std::vector<std::string>>
      data;

  static Value u32(uint32_t v);
  static Value i32(int32_t v);
  static Value u64(uint64_t v);
  static Value f32(float v);
  static Value boolean(bool v);
  static Value string(std::string v);
  static Value strings(std::vector<std::string> v);
  static Value f32s(std::vector<float> v);
  static Value i32s(std::vector<int32_t> v);
  static Value u32s(std::vector<uint32_t> v);
};

using Metadata = std::map<std::string, Value, std::less<>>;

// Typed look-ups. The get_* functions give nothing when the key is absent and an error when it is
// there with a type or value that does not fit: a mistyped key is never silently ignored. Any
// integer width is accepted.
Result<std::optional<int64_t>> get_int(const Metadata& metadata, std::string_view key);
Result<std::optional<double>> get_float(const Metadata& metadata, std::string_view key);
Result<std::optional<bool>> get_bool(const Metadata& metadata, std::string_view key);
Result<std::optional<std::string>> get_string(const Metadata& metadata, std::string_view key);
// Null when absent; an error when not an array of that kind. Arrays of bool count as integers 0
// and 1.
Result<const std::vector<std::string>*> get_strings(const Metadata& metadata, std::string_view key);
Result<std::optional<std::vector<float>>> get_floats(const Metadata& metadata,
                                                     std::string_view key);
Result<std::optional<std::vector<int64_t>>> get_ints(const Metadata& metadata,
                                                     std::string_view key);

// A tensor: dims[0] is the contiguous dimension ("columns"), as in the file. 1 to 4 dimensions,
// none zero.
struct Tensor {
  std::string name;
  kernels::TensorType type = kernels::TensorType::kF32;
  std::vector<int64_t> dims;
  std::span<const std::byte> data;  // bytes() long
  int64_t elements() const;
  int64_t columns() const { return dims[0]; }
  int64_t rows() const { return elements() / dims[0]; }
  // In a checkpoint of training: the optimiser's state, which is no part of the model.
  bool is_of_trainer() const { return name.starts_with("train."); }
};

class File {
 public:
  // Opens a file; the first of a split (-00001-of-000NN.gguf) brings in the others, and its split.*
  // keys are dropped, since the File is whole.
  static Result<File> open(const std::string& path);
  // The parser itself, over bytes in memory (fuzzing, tests). Bytes must outlive the File. A part
  // of a split stays alone.
  static Result<File> parse(std::span<const std::byte> bytes, const std::string& name);
  // Assembled in memory (safetensors import, tests). `owned` keeps alive what the tensors point
  // into, `sources` names the files and folders that they come from. Names must be unique and data
  // of the right size: anything else is the caller's fault.
  static File assemble(Metadata metadata, std::vector<Tensor> tensors,
                       std::shared_ptr<const void> owned, std::string name,
                       std::vector<std::string> sources = {});

  uint32_t version() const { return version_; }
  const std::string& name() const { return name_; }
  const Metadata& metadata() const { return metadata_; }
  std::span<const Tensor> tensors() const { return tensors_; }
  const Tensor* find(std::string_view tensor_name) const;
  uint64_t file_bytes() const { return file_bytes_; }
  // The files that are mapped: all parts of a split; none when parsed or assembled in memory.
  std::span<const std::shared_ptr<const MappedFile>> mappings() const { return mappings_; }
  // All that it was read from: the files that are mapped, or what an import read. Writing to one of
  // them is refused (base/file.h, refuse_overwriting).
  std::vector<std::string> sources() const;
  // The mapped file that holds a tensor's data; null when it was parsed or assembled in memory.
  const MappedFile* mapping_of(const Tensor& tensor) const;
  // Tells the kernel that a tensor's mapped pages are not needed now (after packing them).
  void release(const Tensor& tensor) const;

 private:
  uint32_t version_ = 3;
  std::string name_;
  Metadata metadata_;
  std::vector<Tensor> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
  uint64_t file_bytes_ = 0;
  std::vector<std::shared_ptr<const MappedFile>> mappings_;
  std::shared_ptr<const void> owned_;
  std::vector<std::string> sources_;  // of an assembled one
};

// What a Writer is told of a tensor before it gets the data.
struct TensorToWrite {
  std::string name;
  kernels::TensorType type;
  std::vector<int64_t> dims;
};

// Writes a GGUF v3 file through a temporary name (base/file.h). Tensors are streamed: one is in
// memory at a time.
class Writer {
 public:
  static constexpr uint64_t kAlignment = 32;
  // Writes the header for these tensors; then call write_tensor() once for each, in order and with
  // exactly its bytes, then commit(). general.alignment is left out of the metadata: the writer
  // uses the default.
  static Result<Writer> create(const std::string& path, const Metadata& metadata,
                               std::vector<TensorToWrite> tensors);
  Status write_tensor(std::span<const std::byte> data);
  Status commit();

 private:
  Writer(AtomicFile file, std::vector<TensorToWrite> tensors)
      : file_(std::move(file)), tensors_(std::move(tensors)) {}
  AtomicFile file_;
  std::vector<TensorToWrite> tensors_;
  size_t next_ = 0;
};

}  // namespace geist::gguf
