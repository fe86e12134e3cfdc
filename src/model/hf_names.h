// Names and rows of Hugging Face tensors in GGUF's terms (internal to this folder), for models and
// for adapters.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/hf_arch.h"
#include "model/hf_tensor.h"

namespace geist::model {

// A tensor's name taken apart: "model.layers.3.mlp.up_proj.weight" is "model.layers.#.mlp.up_proj",
// {3}, ".weight".
struct HfName {
  std::string pattern, ending;
  std::vector<int64_t> numbers;
};
HfName parse_hf_name(std::string name, std::string_view prefix);
// The rule's name with the block's number and the ending.
std::string gguf_name(std::string_view rule, const HfName& parsed);

// Sets the recipe's row_length and row_of for the rows of kRopeQ, kRopeK, kQkvByHead and
// kQkvByGroup; its only source has them all. An error (which opens with `file`) when they do not
// divide into heads.
Status choose_hf_rows(TensorOp op, int64_t heads, int64_t kv_heads, const std::string& file,
                      TensorRecipe* recipe);

}  // namespace geist::model
