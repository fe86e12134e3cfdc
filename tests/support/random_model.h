// Tiny models with random weights, for every architecture and its variants: a gguf::File in memory,
// a pure function of (variant, weight type, seed). Nothing is learned from their output but that
// two ways of computing it agree.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gguf/gguf.h"
#include "kernels/tensor_type.h"

namespace geist::testing {

// "llama", "mixtral", "mixtral-split", "gemma3", ...: see random_model.cc.
std::vector<std::string> random_model_variants();

// Matrices have the type given (one that quantize_row makes), norms and biases are F32. Block sizes
// of 256 make the model wider. Context 256, vocabulary 288, 2 to 7 layers.
gguf::File random_model(std::string_view variant, kernels::TensorType type, uint64_t seed);

}  // namespace geist::testing
