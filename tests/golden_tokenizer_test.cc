// Tokenizers against ids that the models' own tokenizers give (llama.cpp's models/ggml-vocab-*:
// made there with Hugging Face's tokenizers), and tiktoken's published cases.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "gguf/gguf.h"
#include "model/load_tokenizer.h"
#include "tests/support/shared_data.h"
#include "text/tokenizer.h"

namespace geist {
namespace {

using text::TokenId;
using text::Tokenizer;

struct Case {
  std::string input;
  std::vector<TokenId> ids;
};

std::vector<Case> read_cases(const std::string& stem) {
  const std::string separator = "\n__ggml_vocab_test__\n";
  const std::string inputs = read_file(stem + ".inp").value();
  std::istringstream outputs(read_file(stem + ".out").value());
  std::vector<Case> cases;
  for (size_t at = 0; at < inputs.size();) {
    const size_t end = std::min(inputs.find(separator, at), inputs.size());
    Case next{inputs.substr(at, end - at), {}};
    std::string line;
    std::getline(outputs, line);
    std::istringstream numbers(line);
    for (TokenId id = 0; numbers >> id;) next.ids.push_back(id);
    cases.push_back(next);
    at = end + separator.size();
  }
  return cases;
}

void check_cases(const Tokenizer& tokenizer, const std::string& stem) {
  const std::vector<Case> cases = read_cases(stem);
  ASSERT_GT(cases.size(), 40u);
  for (const Case& c : cases) {
    EXPECT_EQ(tokenizer.encode(c.input, {.add_special = false}), c.ids) << c.input;
    if (tokenizer.vocabulary().kind != text::TokenizerKind::kWordPiece) {
      EXPECT_EQ(tokenizer.decode(c.ids), c.input);
    }
  }
}

class GgufVocabulary : public ::testing::TestWithParam<const char*> {};

TEST_P(GgufVocabulary, EncodesAndDecodesAsTheModelsTokenizer) {
  const std::string stem =
      std::string("data/tokenizers/gguf-vocab/ggml-vocab-") + GetParam() + ".gguf";
  const auto path = testing::shared_path(stem);
  if (!path) GTEST_SKIP() << stem << " is not here";
  const Result<gguf::File> file = gguf::File::open(*path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  const Result<Tokenizer> tokenizer = model::load_tokenizer(file->metadata());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  check_cases(*tokenizer, *path);
}

INSTANTIATE_TEST_SUITE_P(All, GgufVocabulary,
                         ::testing::Values("bert-bge", "deepseek-coder", "falcon", "gpt-2",
                                           "llama-spm", "mpt", "phi-3", "starcoder"),
                         [](const auto& param) {
                           std::string name = param.param;
                           for (char& c : name)
                             if (c == '-') c = '_';
                           return name;
                         });

}  // namespace
}  // namespace geist
