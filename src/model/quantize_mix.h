// Which type each tensor of a quantised file gets. A file type names a base type and a convention
// of exceptions, llama.cpp's (src/llama-quant.cpp): tensors to which quality is most sensitive get
// more bits, small ones are left alone, rows that are not a whole number of blocks get a type that
// fits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gguf/gguf.h"
#include "kernels/tensor_type.h"

namespace geist::model {

// The numbers are those of GGUF's general.file_type.
enum class FileType : uint32_t {
  kF16 = 1,
  kQ4_0 = 2,
  kQ8_0 = 7,
  kQ4_K_M = 15,
  kQ5_K_M = 17,
  kQ6_K = 18,
  kBF16 = 32,
};

struct FileTypeInfo {
  FileType type;
  std::string_view name;         // "Q4_K_M"; letters of either case are accepted
  kernels::TensorType base;      // what most matrices become
  std::string_view description;  // for people
};

std::span<const FileTypeInfo> file_types();
const FileTypeInfo& file_type_info(FileType type);
std::optional<FileType> file_type_from_name(std::string_view name);

struct TensorChoice {
  kernels::TensorType type;
  bool fallback = false;  // the rows do not fit the type that the convention names
};

// One choice for each tensor, in their order. An error only when metadata that the convention
// depends on (block_count, expert_count) is mistyped.
Result<std::vector<TensorChoice>> choose_tensor_types(const gguf::Metadata& metadata,
                                                      std::span<const gguf::Tensor> tensors,
                                                      FileType type);

}  // namespace geist::model
