#include "model/hf_tensor.h"

#include <cstring>

#include "base/check.h"
#include "kernels/block.h"

namespace geist::model {
namespace {

using gguf::Dtype;
using kernels::TensorType;

template <typename T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

float read_element(Dtype dtype, const std::byte* p) {
  switch (dtype) {
    case Dtype::kF64:
      return static_cast<float>(load<double>(p));
    case Dtype::kF32:
      return load<float>(p);
    case Dtype::kF16:
      return kernels::f16_to_f32(load<uint16_t>(p));
    case Dtype::kBF16:
      return kernels::bf16_to_f32(load<uint16_t>(p));
    default:
      break;
  }
  GEIST_CHECK(false && "not a float");
}

void write_element(TensorType type, float value, std::byte* p) {
  if (type == TensorType::kF32) {
    std::memcpy(p, &value, sizeof value);
    return;
  }
  const uint16_t bits =
      type == TensorType::kF16 ? kernels::f32_to_f16(value) : kernels::f32_to_bf16(value);
  std::memcpy(p, &bits, sizeof bits);
}

std::optional<TensorType> same_type(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF32:
      return TensorType::kF32;
    case Dtype::kF16:
      return TensorType::kF16;
    case Dtype::kBF16:
      return TensorType::kBF16;
    default:
      return std::nullopt;
  }
}

bool is_float(Dtype dtype) { return same_type(dtype) || dtype == Dtype::kF64; }

// Copies `count` elements, `step` elements apart in the source.
struct Copy {
  Dtype from;
  TensorType to;
  float add;

  void run(const std::byte* in, int64_t step, int64_t count, std::byte* out) const {
    const int64_t in_bytes = gguf::dtype_bytes(from);
    const int64_t out_bytes = kernels::tensor_type_info(to).block_bytes;
    if (same_type(from) == to && step == 1 && add == 0.0f) {
      std::memcpy(out, in, static_cast<size_t>(count * in_bytes));
      return;
    }
    for (int64_t i = 0; i < count; ++i) {
      const float value = read_element(from, in + i * step * in_bytes);
      write_element(to, add == 0.0f ? value : value + add, out + i * out_bytes);  // -0 stays -0
    }
  }
};

void fill(const TensorRecipe& recipe, const Copy& copy, std::span<std::byte> out) {
  const int64_t in_bytes = gguf::dtype_bytes(copy.from);
  const int64_t out_bytes = kernels::tensor_type_info(copy.to).block_bytes;
  const int64_t elements = static_cast<int64_t>(out.size()) / out_bytes;
  if (recipe.transpose) {
    const int64_t columns = recipe.dims[0], rows = elements / columns;  // of the result
    for (int64_t r = 0; r < rows; ++r)
      copy.run(recipe.sources[0]->data.data() + r * in_bytes, rows, columns,
               out.data() + r * columns * out_bytes);
    return;
  }
  if (!recipe.row_of) return copy.run(recipe.sources[0]->data.data(), 1, elements, out.data());
  const int64_t length = recipe.row_length;
  for (int64_t r = 0; r < elements / length; ++r) {
    const auto [source, row] = recipe.row_of(r);
    copy.run(recipe.sources[source]->data.data() + row * length * in_bytes, 1, length,
             out.data() + r * length * out_bytes);
  }
}

}  // namespace

Result<PlannedTensor> plan_tensor(TensorRecipe recipe, MatrixType matrix_type,
                                  const std::string& file) {
  const gguf::SafeTensor& first = *recipe.sources[0];
  if (!is_float(first.dtype))
    return errorf(
        "%s: tensor '%s' is %s, not floating-point; get the F16, BF16 or F32 weights of the model",
        file.c_str(), first.name.c_str(), std::string(gguf::dtype_name(first.dtype)).c_str());
  const bool is_matrix = recipe.dims.size() > 1 && !recipe.keep_f32;
  TensorType type = TensorType::kF32;
  if (is_matrix) type = matrix_type.value_or(same_type(first.dtype).value_or(TensorType::kF32));
  PlannedTensor planned;
  planned.shape = {recipe.name, type, recipe.dims};
  const Copy copy{first.dtype, type, recipe.add};
  const bool aligned = reinterpret_cast<uintptr_t>(first.data.data()) % 4 == 0;
  if (same_type(first.dtype) == type && recipe.add == 0.0f && !recipe.row_of && !recipe.transpose &&
      aligned)
    planned.in_place = first.data;
  planned.fill = [recipe = std::move(recipe), copy](std::span<std::byte> out) {
    fill(recipe, copy, out);
  };
  return planned;
}

}  // namespace geist::model
