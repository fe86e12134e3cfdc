// MB/s (CPU time) of encoding and decoding, one thread, for every pre-tokenizer. With the optional
// shared data: real vocabularies on real English; without it, small vocabularies learnt here on
// generated text, so that the program runs anywhere.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>

#include "base/file.h"
#include "base/rng.h"
#include "text/bpe.h"
#include "text/pre_tokenizer.h"
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

// WordPiece likewise: words in lower case, "\u2581" before those that begin one.
Vocabulary as_word_piece(const Vocabulary& bpe) {
  Vocabulary v;
  v.kind = TokenizerKind::kWordPiece;
  v.tokens = {"[UNK]"};
  v.unk = 0;
  std::set<std::string> known;
  for (const std::string& token : bpe.tokens) {
    std::string bytes;
    if (v.tokens.size() >= 30522 || !alphabet_to_bytes(token, &bytes)) continue;
    const bool first = bytes.starts_with(' ');
    std::string text = first ? std::string(kSpaceMark) + bytes.substr(1) : bytes;
    const auto plain = [](char c) { return c > ' ' && c <= '~' && (c < 'A' || c > 'Z'); };
    if (!std::all_of(bytes.begin() + (first ? 1 : 0), bytes.end(), plain)) continue;
    if (known.insert(text).second) v.tokens.push_back(std::move(text));
  }
  v.types.resize(v.tokens.size(), TokenType::kNormal);
  v.types[0] = TokenType::kUnknown;
  return v;
}

// The vocabulary of GPT-2 (Qwen2's own for qwen2, SmolLM's for smollm) under any pre-tokenizer, and
// made over into the other kinds for "spm" and "wordpiece".
Tokenizer load(const std::string& name) {
  const std::string folder = shared_root() + "/data/tokenizers/hf/" +
                             (name == "qwen2"    ? "qwen2_5"
                              : name == "smollm" ? "smollm"
                                                 : "gpt2");
  std::error_code ignored;
  Vocabulary v;
  if (std::filesystem::exists(folder, ignored)) {
    v = vocabulary_from_tokenizer_json(read_file(folder + "/tokenizer.json").value()).value();
    if (name == "spm") v = as_sentence_piece(v);
    if (name == "wordpiece") v = as_word_piece(v);
  } else {
    v = generated_vocabulary(name == "spm" ? TokenizerKind::kSentencePiece
                                           : TokenizerKind::kByteLevelBpe);
    if (name == "wordpiece") v = as_word_piece(v);
  }
  if (v.kind == TokenizerKind::kByteLevelBpe) {
    v.pre = name;
    v.ignore_merges = PreTokenizer::ignores_merges(name);
  }
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

// Every pre-tokenizer on English, and the rest for the ones in widest use.
int register_all() {
  std::vector<std::string> names = {"spm", "wordpiece"};
  for (const std::string_view name : PreTokenizer::different_names()) names.emplace_back(name);
  for (const std::string& name : names)
    benchmark::RegisterBenchmark(("encode/" + name).c_str(), [name](benchmark::State& state) {
      encode(state, name, english());
    })->Unit(benchmark::kMillisecond);
  for (const std::string name : {"gpt-2", "qwen2", "llama-bpe", "spm", "wordpiece"}) {
    benchmark::RegisterBenchmark(("encode_cold/" + name).c_str(), [name](benchmark::State& state) {
      encode_cold(state, name);
    })->Unit(benchmark::kMicrosecond);
    benchmark::RegisterBenchmark(("decode/" + name).c_str(), [name](benchmark::State& state) {
      decode(state, name);
    })->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("encode_adverse/" + name).c_str(),
                                 [name](benchmark::State& state) { encode_adverse(state, name); })
        ->ArgName("letter,spaces,random")
        ->DenseRange(0, 2)
        ->Unit(benchmark::kMillisecond);
  }
  return 0;
}
const int registered = register_all();

}  // namespace
}  // namespace geist::text
