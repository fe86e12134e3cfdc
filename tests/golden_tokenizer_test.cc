// Tokenizers against ids that the models' own tokenizers give (llama.cpp's models/ggml-vocab-*:
// made there with Hugging Face's tokenizers), and tiktoken's published cases.
#include <gtest/gtest.h>

#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "gguf/gguf.h"
#include "model/load_tokenizer.h"
#include "tests/support/shared_data.h"
#include "text/bpe.h"
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

Result<Tokenizer> from_json(const std::string& folder) {
  const auto json = testing::shared_path(folder + "/tokenizer.json");
  if (!json) return errorf("%s is not here", folder.c_str());
  const auto config = testing::shared_path(folder + "/tokenizer_config.json");
  return Tokenizer::from_tokenizer_json(read_file(*json).value(),
                                        config ? read_file(*config).value() : "");
}

TEST(HuggingFaceVocabulary, Qwen2EncodesAsTheModelsTokenizer) {
  const auto cases = testing::shared_path("data/tokenizers/gguf-vocab/ggml-vocab-qwen2.gguf.inp");
  if (!cases) GTEST_SKIP() << "the qwen2 cases are not here";
  const Result<Tokenizer> tokenizer = from_json("data/tokenizers/hf/qwen2_5");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  check_cases(*tokenizer, cases->substr(0, cases->size() - 4));
  EXPECT_EQ(tokenizer->vocabulary().pre, "qwen2");
  EXPECT_EQ(tokenizer->vocabulary().eos, 151645);
  EXPECT_FALSE(tokenizer->vocabulary().add_bos);
}

// The same model's vocabulary in both formats gives the same ids on all of the text.
TEST(HuggingFaceVocabulary, Gpt2EqualsItsGguf) {
  const auto path = testing::shared_path("data/tokenizers/gguf-vocab/ggml-vocab-gpt-2.gguf");
  const auto text_path = testing::shared_path("data/text/jargon_file.txt");
  if (!path || !text_path) GTEST_SKIP() << "the gpt-2 vocabulary or the text is not here";
  const Result<Tokenizer> hf = from_json("data/tokenizers/hf/gpt2");
  ASSERT_TRUE(hf.ok()) << hf.error().message;
  const gguf::File file = gguf::File::open(*path).value();
  const Tokenizer gguf = model::load_tokenizer(file.metadata()).value();
  const std::string text = read_file(*text_path).value();
  EXPECT_EQ(hf->encode(text), gguf.encode(text));
  EXPECT_EQ(hf->decode(hf->encode(text)), text);
}

TEST(HuggingFaceVocabulary, OthersLoadAndComeBack) {
  for (const char* folder : {"data/tokenizers/hf/smollm", "data/models/minimind2-small"}) {
    if (!testing::shared_path(folder)) GTEST_SKIP() << folder << " is not here";
    const Result<Tokenizer> tokenizer = from_json(folder);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    // Not UTF-8; bytes such as 0xFF are no tokens of SmolLM.
    const std::string text = "<|im_start|>user\n\u4f60\u597d, 3.14 caf\u00e9s<|im_end|>\n\xc3(";
    for (const bool special : {false, true}) {
      const std::vector<TokenId> ids = tokenizer->encode(text, {.parse_special = special});
      EXPECT_EQ(tokenizer->decode(ids, true), text);
      EXPECT_EQ(ids.front() == tokenizer->find("<|im_start|>"), special);
    }
    EXPECT_TRUE(tokenizer->is_end(tokenizer->find("<|im_end|>")));
  }
}

// tiktoken's rank file as a Vocabulary: a token's merge is what its bytes come to under the ranks
// below it.
std::string base64(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    const auto at =
        std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
            .find(c);
    bits = bits << 6 | static_cast<uint32_t>(at);
    count += 6;
    if (count >= 8) out += static_cast<char>(bits >> (count -= 8) & 0xFF);
  }
  return out;
}

std::string in_alphabet(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += text::byte_to_alphabet(static_cast<unsigned char>(c));
  return out;
}

text::Vocabulary read_tiktoken(const std::string& path) {
  std::istringstream lines(read_file(path).value());
  std::map<std::string, int> ranks;
  std::vector<std::string> tokens;
  std::string encoded;
  for (int rank = 0; lines >> encoded >> rank;) ranks[base64(encoded)] = rank;
  tokens.resize(ranks.size());
  for (const auto& [bytes, rank] : ranks) tokens[static_cast<size_t>(rank)] = bytes;
  text::Vocabulary v;
  v.pre = "llama-bpe";
  for (size_t rank = 0; rank < tokens.size(); ++rank) {
    v.tokens.push_back(in_alphabet(tokens[rank]));
    std::vector<std::string> parts;
    for (const char c : tokens[rank]) parts.emplace_back(1, c);
    while (parts.size() > 2) {
      size_t best = 0;
      int best_rank = static_cast<int>(rank);
      for (size_t i = 0; i + 1 < parts.size(); ++i) {
        const auto at = ranks.find(parts[i] + parts[i + 1]);
        if (at != ranks.end() && at->second < best_rank) best = i, best_rank = at->second;
      }
      if (best_rank == static_cast<int>(rank)) break;
      parts[best] += parts[best + 1];
      parts.erase(parts.begin() + static_cast<ptrdiff_t>(best) + 1);
    }
    if (parts.size() == 2) v.merges.push_back(in_alphabet(parts[0]) + " " + in_alphabet(parts[1]));
  }
  return v;
}

std::map<std::string, std::vector<Case>> read_test_plans(const std::string& path) {
  std::map<std::string, std::vector<Case>> plans;
  const std::string text = read_file(path).value();
  const std::string name_key = "EncodingName: ", sample_key = "\nSample: ",
                    ids_key = "\nEncoded: [";
  for (size_t at = text.find(name_key); at != std::string::npos; at = text.find(name_key, at)) {
    const size_t sample = text.find(sample_key, at), ids = text.find(ids_key, sample);
    Case next{text.substr(sample + sample_key.size(), ids - sample - sample_key.size()), {}};
    const size_t end = text.find(']', ids);
    std::istringstream numbers(text.substr(ids + ids_key.size(), end - ids - ids_key.size()));
    char comma;
    for (TokenId id = 0; numbers >> id; numbers >> comma) next.ids.push_back(id);
    plans[text.substr(at + name_key.size(), sample - at - name_key.size())].push_back(next);
    at = end;
  }
  return plans;
}

TEST(Tiktoken, EncodesAsItsTestPlans) {
  const auto plan_path = testing::shared_path("data/tokenizers/tiktoken/TestPlans.txt");
  const auto rank_path = testing::shared_path("data/tokenizers/tiktoken/cl100k_base.tiktoken");
  if (!plan_path || !rank_path) GTEST_SKIP() << "tiktoken's data is not here";
  const auto plans = read_test_plans(*plan_path);
  const Result<Tokenizer> cl100k = Tokenizer::create(read_tiktoken(*rank_path));
  const Result<Tokenizer> gpt2 = from_json("data/tokenizers/hf/gpt2");
  ASSERT_TRUE(cl100k.ok() && gpt2.ok());
  const std::pair<const char*, const Tokenizer*> encodings[] = {{"cl100k_base", &*cl100k},
                                                                {"r50k_base", &*gpt2}};
  for (const auto& [name, tokenizer] : encodings) {
    ASSERT_GT(plans.at(name).size(), 10u);
    for (const Case& c : plans.at(name)) {
      EXPECT_EQ(tokenizer->encode(c.input, {.parse_special = true}), c.ids)
          << name << ": " << c.input;
      EXPECT_EQ(tokenizer->decode(c.ids), c.input);
    }
  }
}

}  // namespace
}  // namespace geist
