// safetensors, the parameters file of Hugging Face models (specification: huggingface/safetensors,
// README "Format"): a u64 length, a JSON header of that many bytes, tensor data. Opening reads and
// checks the headers only.
//
// Immutable after opening; may be read from many threads. Spans live as long as the object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"

namespace geist::gguf {

enum class Dtype : uint8_t {
  kF64,
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kI16,
  kI8,
  kU64,
  kU32,
  kU16,
  kU8,
  kBool
};
std::string_view dtype_name(Dtype dtype);
int64_t dtype_bytes(Dtype dtype);

// Row-major, shape[0] outermost (the reverse of gguf::Tensor). A scalar has no dimensions; a
// dimension may be 0. Data may lie at any address: the format promises no alignment.
struct SafeTensor {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;
  int64_t elements() const;
};

class SafeTensors {
 public:
  // A .safetensors file, a model.safetensors.index.json with its shards beside it, or a folder with
  // either.
  static Result<SafeTensors> open(const std::string& path);
  // One file in memory (fuzzing, tests). Bytes must outlive the object.
  static Result<SafeTensors> parse(std::span<const std::byte> bytes, const std::string& name);

  std::span<const SafeTensor> tensors() const { return tensors_; }  // in order of name
  const SafeTensor* find(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  static Result<SafeTensors> open_file(const std::string& path);
  static Result<SafeTensors> open_index(const std::string& path);

  std::vector<SafeTensor> tensors_;
  std::map<std::string, std::string> metadata_;
  std::vector<std::shared_ptr<const MappedFile>> mappings_;
};

}  // namespace geist::gguf
