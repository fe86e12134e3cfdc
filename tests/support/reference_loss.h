// The loss of a llama-like or GPT-2-like model in double precision with the C library, written from
// the papers and sharing nothing with the engine: what gradients are checked against.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "gguf/gguf.h"

namespace geist::testing {

using Weights = std::map<std::string, std::vector<double>>;

// Every tensor of an F32 file.
Weights read_weights(const gguf::File& file);

// The sum over a sequence of weights[i] * -log p(ids[i + 1]); weights: [ids - 1].
double reference_loss(const gguf::Metadata& metadata, const Weights& weights,
                      const std::vector<int32_t>& ids, const std::vector<double>& token_weights);

// log p(ids[i + 1]) after ids[0..i], and w . hidden state (after the final norm) of ids[i] with w
// the tensor `head`, for i < ids - 1.
std::vector<double> reference_log_probabilities(const gguf::Metadata& metadata,
                                                const Weights& weights,
                                                const std::vector<int32_t>& ids);
std::vector<double> reference_scalars(const gguf::Metadata& metadata, const Weights& weights,
                                      const std::vector<int32_t>& ids, const std::string& head);

}  // namespace geist::testing
