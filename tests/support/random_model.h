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

enum class Shape {
  kFixed,   // context 256, vocabulary 288, 4 heads, widths that are powers of two
  kDeep,    // kFixed, but Command R+ has 64 layers: llama.cpp knows it by that
  kRandom,  // context 256, the rest drawn from the seed: widths of odd sizes, 289 to 303 tokens
};

// Matrices have the type given (one that quantize_row makes), norms and biases are F32. Block sizes
// of 256 make the model wider. 2 to 7 layers.
gguf::File random_model(std::string_view variant, kernels::TensorType type, uint64_t seed,
                        Shape shape = Shape::kFixed);

}  // namespace geist::testing
