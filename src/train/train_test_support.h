// What the tests of training share: a small new model, and documents of numbers.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/rng.h"
#include "train/corpus.h"
#include "train/new_model.h"
#include "train/trained_model.h"

namespace geist::train {

inline gguf::Metadata number_tokenizer(int count) {
  std::vector<std::string> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back("t" + std::to_string(i));
  return {{"tokenizer.ggml.tokens", gguf::Value::strings(std::move(tokens))}};
}

template <typename T>
T must(Result<T> result) {
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return std::move(result).value();
}

inline TrainedModel small_model(const kernels::Kernels* kernels = nullptr,
                                const std::string& architecture = "llama") {
  ModelShape shape{.architecture = architecture, .layers = 2, .width = 32, .heads = 4};
  shape.kv_heads = architecture == "llama" ? 2 : 4;
  shape.context = 48;
  return must(TrainedModel::make(must(new_model(shape, number_tokenizer(40), 3)), kernels));
}

// Documents that count upwards from a random start: something to learn.
inline Corpus counting_corpus(int documents) {
  RandomStream random(1, "counting");
  Corpus corpus;
  for (int i = 0; i < documents; ++i) {
    std::vector<text::TokenId> ids;
    const auto first = static_cast<int32_t>(random.next_below(40));
    const auto length = static_cast<int32_t>(2 + random.next_below(60));
    for (int32_t j = 0; j < length; ++j) ids.push_back((first + j) % 40);
    corpus.add(ids, ids.size());
  }
  return corpus;
}

}  // namespace geist::train
