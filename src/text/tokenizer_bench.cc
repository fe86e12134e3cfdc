// MB/s of encoding and decoding, one thread. With the optional shared data: real vocabularies on
// real English; without it, small vocabularies learnt here on generated text, so that the program
// runs anywhere.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "base/rng.h"
#include "text/bpe.h"
#include "text/spm.h"
#include "text/tokenizer.h"

namespace geist::text {
namespace {

std::string shared_root() {
  const char* named = std::getenv("GEIST_SHARED");
  return named != nullptr ? named : std::string(GEIST_SOURCE_DIR) + "/../shared";
}

// Words of two to nine letters, the frequent ones often, as in a natural language.
std::string generated_text(size_t size) {
  RandomStream random(7, "tokenizer bench");
  std::string out;
  while (out.size() < size) {
    const uint64_t word = random.next_below(random.next_below(4000) + 1);
    RandomStream letters(word, "word");
    for (uint64_t n = 2 + letters.next_below(8); n > 0; --n)
      out += static_cast<char>('a' + letters.next_below(26));
    out += random.next_below(12) == 0 ? ".\n" : " ";
  }
  return out;
}

const std::string& english() {
  static const std::string text = [] {
    std::string all;
    std::error_code ignored;
    for (const char* name :
         {"austen_emma.txt", "moby_dick.txt", "war_and_peace.txt", "wikitext2_valid.txt"}) {
      const std::string path = shared_root() + "/data/text/" + name;
      if (std::filesystem::exists(path, ignored)) all += read_file(path).value();
    }
    return all.empty() ? generated_text(1 << 20) : all;
  }();
  return text;
}

Vocabulary bytes_vocabulary(TokenizerKind kind) {
  Vocabulary v;
  v.kind = kind;
  const bool bpe = kind == TokenizerKind::kByteLevelBpe;
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(b));
    v.tokens.push_back(bpe ? std::string(byte_to_alphabet(static_cast<unsigned char>(b))) : name);
    v.types.push_back(bpe ? TokenType::kNormal : TokenType::kByte);
  }
  return v;
}

// Pairs of letters and of pairs: enough to make merging work.
Vocabulary generated_vocabulary(TokenizerKind kind) {
  Vocabulary v = bytes_vocabulary(kind);
  const std::string space(kind == TokenizerKind::kByteLevelBpe ? byte_to_alphabet(' ')
                                                               : kSpaceMark);
  std::vector<std::string> letters = {space};
  for (char c = 'a'; c <= 'z'; ++c) letters.emplace_back(1, c);
  if (kind == TokenizerKind::kSentencePiece)
    for (const std::string& letter : letters) v.tokens.push_back(letter);
  for (const std::string& a : letters)
    for (const std::string& b : letters) {
      if (b == space) continue;
      v.tokens.push_back(a + b);
      v.merges.push_back(a + " " + b);
    }
  v.types.resize(v.tokens.size(), TokenType::kNormal);
  for (size_t i = 0; i < v.tokens.size(); ++i) v.scores.push_back(-static_cast<float>(i));
  if (kind == TokenizerKind::kSentencePiece) v.merges.clear();
  return v;
}

// SentencePiece from the BPE vocabulary of a tokenizer.json: the tokens that are UTF-8, the merges
// as scores. The ids differ from the model's; the work is of the same kind and size as Llama 2's.
Vocabulary as_sentence_piece(const Vocabulary& bpe) {
  Vocabulary v = bytes_vocabulary(TokenizerKind::kSentencePiece);
  for (const std::string& token : bpe.tokens) {
    std::string bytes;
    if (v.tokens.size() >= 32000 || !alphabet_to_bytes(token, &bytes) ||
        bytes.find_first_of("\n\r\t") != std::string::npos)
      continue;
    std::string text;
    bool plain = true;
    for (const char c : bytes) {
      text += c == ' ' ? std::string(kSpaceMark) : std::string(1, c);
      plain = plain && static_cast<unsigned char>(c) < 0x80;
    }
    if (plain) v.tokens.push_back(text);
  }
  v.types.resize(v.tokens.size(), TokenType::kNormal);
  for (size_t i = 0; i < v.tokens.size(); ++i) v.scores.push_back(-static_cast<float>(i));
  return v;
}

Tokenizer load(const std::string& name) {
  const std::string folder =
      shared_root() + "/data/tokenizers/hf/" + (name == "qwen2" ? "qwen2_5" : "gpt2");
  std::error_code ignored;
  if (!std::filesystem::exists(folder, ignored))
    return Tokenizer::create(generated_vocabulary(name == "spm" ? TokenizerKind::kSentencePiece
                                                                : TokenizerKind::kByteLevelBpe))
        .value();
  Vocabulary v =
      vocabulary_from_tokenizer_json(read_file(folder + "/tokenizer.json").value()).value();
  if (name == "spm") v = as_sentence_piece(v);
  if (name == "llama-bpe") v.pre = "llama-bpe";
  return Tokenizer::create(std::move(v)).value();
}

void encode(benchmark::State& state, const std::string& name, const std::string& text) {
  const Tokenizer tokenizer = load(name);
  size_t tokens = 0;
  for (auto _ : state) tokens = tokenizer.encode(text, {.add_special = false}).size();
  state.SetBytesProcessed(static_cast<int64_t>(text.size()) * state.iterations());
  state.counters["bytes/token"] = static_cast<double>(text.size()) / static_cast<double>(tokens);
}

void decode(benchmark::State& state, const std::string& name) {
  const Tokenizer tokenizer = load(name);
  const std::vector<TokenId> ids = tokenizer.encode(english());
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer.decode(ids).data());
  state.SetBytesProcessed(static_cast<int64_t>(english().size()) * state.iterations());
}

// A prompt: no word has been seen before.
void encode_cold(benchmark::State& state, const std::string& name) {
  encode(state, name, english().substr(0, 2000));
}

std::string random_bytes(size_t size) {
  RandomStream random(11, "tokenizer bench bytes");
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>(random.next_below(256));
  return out;
}

void encode_adverse(benchmark::State& state, const std::string& name) {
  const std::string texts[] = {std::string(1 << 20, 'a'), std::string(1 << 20, ' '),
                               random_bytes(1 << 20)};
  encode(state, name, texts[state.range(0)]);
}

#define GEIST_TOKENIZER_BENCH(label, name)                                          \
  BENCHMARK_CAPTURE(encode, label, name, english())->Unit(benchmark::kMillisecond); \
  BENCHMARK_CAPTURE(encode_cold, label, name)->Unit(benchmark::kMicrosecond);       \
  BENCHMARK_CAPTURE(decode, label, name)->Unit(benchmark::kMillisecond);            \
  BENCHMARK_CAPTURE(encode_adverse, label, name)                                    \
      ->ArgName("letter,spaces,random")                                             \
      ->DenseRange(0, 2)                                                            \
      ->Unit(benchmark::kMillisecond)

GEIST_TOKENIZER_BENCH(gpt2, "gpt-2");
GEIST_TOKENIZER_BENCH(qwen2, "qwen2");
GEIST_TOKENIZER_BENCH(llama_bpe, "llama-bpe");
GEIST_TOKENIZER_BENCH(spm, "spm");

}  // namespace
}  // namespace geist::text
