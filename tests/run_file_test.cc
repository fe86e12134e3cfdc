// The run file against the program: the same functions to the bit, the same token ids, and the same
// text, run as a user would build it and with the network cut off.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "base/file.h"
#include "base/unicode.h"
#include "engine/generation.h"
#include "engine/prompt.h"
#include "gguf/gguf.h"
#include "kernels/block.h"
#include "kernels/math.h"
#include "model/load_tokenizer.h"
#include "model/model.h"
#include "tests/support/random_model.h"
#include "tests/support/run_file_probe.h"
#include "tests/support/shared_data.h"

namespace geist {
namespace {

namespace fs = std::filesystem;

// This process's own folder: ctest runs several cases at once. Removed when the process ends.
const fs::path& scratch_folder() {
  struct Folder {
    fs::path path = fs::path(::testing::TempDir()) / ("run_file_" + std::to_string(::getpid()));
    Folder() { fs::create_directories(path); }
    ~Folder() {
      std::error_code ignored;
      fs::remove_all(path, ignored);
    }
  };
  static const Folder folder;
  return folder.path;
}

// ---- arithmetic

template <typename Float>
::testing::AssertionResult same_bits(Float a, Float b) {
  if (std::memcmp(&a, &b, sizeof(a)) == 0 || (a != a && b != b))
    return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << a << " and " << b;
}

float any_float(std::mt19937_64& random) {
  const auto bits = static_cast<uint32_t>(random());
  // A quarter of them close to each other in size, where rounding is hard.
  const uint32_t near = (bits & 0x80ffffffu) | 0x3f000000u;
  return std::bit_cast<float>(random() % 4 == 0 ? near : bits);
}

TEST(RunFileArithmetic, FusedMultiplyAdd) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 2'000'000; ++i) {
    const float a = any_float(random), b = any_float(random);
    // c near -a * b cancels, and leaves what a second rounding would lose.
    const float c = random() % 2 == 0 ? -a * b * (1 + static_cast<float>(random() % 5) * 0x1p-24f)
                                      : any_float(random);
    ASSERT_TRUE(same_bits(probe_fma32(a, b, c), std::fma(a, b, c))) << a << " " << b << " " << c;
  }
}

TEST(RunFileArithmetic, SquareRootsAreExact) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 2'000'000; ++i) {
    const uint32_t bits =
        static_cast<uint32_t>(random()) % (0x7f800000u - 0x00800000u) + 0x00800000u;
    const float x = std::bit_cast<float>(bits);
    ASSERT_TRUE(same_bits(probe_sqrt32(x), std::sqrt(x))) << x;
  }
  // The scale of attention, 1 / sqrt(head length).
  for (int n = 1; n <= 8192; ++n) {
    ASSERT_TRUE(same_bits(static_cast<float>(1.0 / probe_pow64(n, 0.5)),
                          static_cast<float>(1.0 / std::sqrt(static_cast<double>(n)))))
        << n;
  }
}

TEST(RunFileArithmetic, TranscendentalFunctions) {
  std::mt19937_64 random(3);
  std::uniform_real_distribution<double> unit(0, 1);
  for (int i = 0; i < 300'000; ++i) {
    const float f = any_float(random);
    ASSERT_TRUE(same_bits(probe_exp32(f), kernels::det_expf(f))) << f;
    const auto close = static_cast<float>((unit(random) - 0.5) * 180);
    ASSERT_TRUE(same_bits(probe_exp32(close), kernels::det_expf(close))) << close;
    const double x = (unit(random) - 0.5) * 1500;
    ASSERT_TRUE(same_bits(probe_exp64(x), kernels::det_exp(x))) << x;
    const double base = 1.001 + unit(random) * 1e6, power = -2 * unit(random);
    ASSERT_TRUE(same_bits(probe_pow64(base, power), kernels::det_pow(base, power)))
        << base << " " << power;
    const double angle = unit(random) * (i % 2 ? 100 : 0x1p30);
    ASSERT_TRUE(same_bits(probe_sin64(angle), kernels::det_sin(angle))) << angle;
    ASSERT_TRUE(same_bits(probe_cos64(angle), kernels::det_cos(angle))) << angle;
  }
}

// ---- text

TEST(RunFileText, CharacterClassesAreUnicodes) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;  // not in UTF-8
    const int expected = is_letter(c) ? 1 : is_number(c) ? 2 : is_space(c) ? 4 : 8;
    ASSERT_EQ(probe_class_of(c), expected) << std::hex << static_cast<uint32_t>(c);
  }
}

std::string random_text(std::mt19937_64& random) {
  static const char* const pieces[] = {" ",
                                       "  ",
                                       "\n",
                                       "\r\n",
                                       "\t",
                                       "a",
                                       "the",
                                       " World",
                                       "'s",
                                       "'LL",
                                       "'",
                                       "1",
                                       "42",
                                       "12345",
                                       ".",
                                       ",",
                                       "!?",
                                       "(",
                                       "é",
                                       "ñ",
                                       "ß",
                                       "你好",
                                       "日本",
                                       "кот",
                                       "٣",
                                       "½",
                                       "–",
                                       "“",
                                       "”",
                                       "…",
                                       " ",
                                       "　",
                                       "😀",
                                       "👩‍🚀",
                                       "̈",
                                       "\x80",
                                       "\xff",
                                       "\xe2\x82",
                                       "<0x41>",
                                       "\xe2\x96\x81",
                                       "<s>",
                                       "</s>",
                                       "<|im_start|>",
                                       "<unk>",
                                       "_",
                                       "it's",
                                       "I'M",
                                       "xyz",
                                       "हिन्दी",
                                       "ไทย"};
  std::string out;
  for (size_t n = random() % 12; n-- > 0;) {
    if (random() % 8 == 0) {
      const auto c = static_cast<char32_t>(random() % 0x30000);
      if (c < 0xD800 || c >= 0xE000) append_utf8(out, c);
    } else {
      out += pieces[random() % std::size(pieces)];
    }
  }
  return out;
}

// Both tokenizers over many texts, from one GGUF file.
void expect_same_ids(const std::string& file, int texts) {
  const auto header = gguf::File::open(file);
  ASSERT_TRUE(header.ok()) << header.error().message;
  const auto tokenizer = model::load_tokenizer(header->metadata());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  probe_open_vocabulary(file.c_str());
  std::mt19937_64 random(4);
  for (int i = 0; i < texts; ++i) {
    const std::string text = random_text(random);
    const bool raw = i % 2 == 0;
    const int* ids = nullptr;
    const size_t count = probe_encode(text.data(), text.size(), raw, &ids);
    const auto expected = tokenizer->encode(text, {.add_special = false, .parse_special = !raw});
    ASSERT_EQ(std::vector<int>(ids, ids + count),
              std::vector<int>(expected.begin(), expected.end()))
        << text;
  }
}

// A file of a vocabulary alone.
std::string write_vocabulary(const text::Vocabulary& v, const std::string& name) {
  std::vector<int32_t> types;
  for (const text::TokenType type : v.types) types.push_back(static_cast<int32_t>(type));
  gguf::Metadata metadata{
      {"general.architecture", gguf::Value::string("llama")},
      {"tokenizer.ggml.model",
       gguf::Value::string(v.kind == text::TokenizerKind::kSentencePiece ? "llama" : "gpt2")},
      {"tokenizer.ggml.pre", gguf::Value::string(v.pre)},
      {"tokenizer.ggml.tokens", gguf::Value::strings(v.tokens)},
      {"tokenizer.ggml.token_type", gguf::Value::i32s(types)},
      {"tokenizer.ggml.merges", gguf::Value::strings(v.merges)}};
  metadata["tokenizer.ggml.add_space_prefix"] = gguf::Value::boolean(v.add_space_prefix);
  if (v.unk >= 0) {
    metadata["tokenizer.ggml.unknown_token_id"] = gguf::Value::u32(static_cast<uint32_t>(v.unk));
  }
  if (!v.scores.empty()) metadata["tokenizer.ggml.scores"] = gguf::Value::f32s(v.scores);
  const std::string path = (scratch_folder() / name).string();
  auto writer = gguf::Writer::create(path, metadata, {});
  EXPECT_TRUE(writer.ok() && writer->commit().ok());
  return path;
}

// Two hundred merges of English and other bytes, for each family of words.
text::Vocabulary small_bpe(const std::string& pre) {
  text::Vocabulary v;
  v.pre = pre;
  std::vector<std::string> letters;
  for (int b = 0, next = 256; b < 256; ++b) {
    const bool visible = (b > 32 && b < 127) || (b > 160 && b != 173);
    std::string letter;
    append_utf8(letter, static_cast<char32_t>(visible ? b : next++));
    letters.push_back(letter);
  }
  v.tokens = letters;
  const std::string space = letters[' '];
  for (const auto& [left, right] :
       std::initializer_list<std::pair<std::string, std::string>>{{"t", "h"},
                                                                  {"th", "e"},
                                                                  {space, "the"},
                                                                  {space, "W"},
                                                                  {"o", "r"},
                                                                  {"l", "d"},
                                                                  {"or", "ld"},
                                                                  {space + "W", "orld"},
                                                                  {"1", "2"},
                                                                  {"12", "3"},
                                                                  {"4", "5"},
                                                                  {"'", "s"},
                                                                  {"x", "y"},
                                                                  {"xy", "z"},
                                                                  {letters[0xC3], letters[0xA9]},
                                                                  {letters[0xE4], letters[0xBD]},
                                                                  {letters[10], letters[10]},
                                                                  {space, space}}) {
    v.merges.push_back(left + " " + right);
    v.tokens.push_back(left + right);
  }
  v.types.assign(v.tokens.size(), text::TokenType::kNormal);
  for (const char* special : {"<|im_start|>", "<s>"}) {
    v.tokens.push_back(special);
    v.types.push_back(text::TokenType::kControl);
  }
  v.tokens.push_back("<0x41>");
  v.types.push_back(text::TokenType::kUserDefined);
  return v;
}

TEST(RunFileText, BytePairIdsEqual) {
  for (const char* pre : {"gpt-2", "llama-bpe", "qwen2", "smollm"}) {
    SCOPED_TRACE(pre);
    text::Vocabulary vocabulary = small_bpe(pre);
    expect_same_ids(write_vocabulary(vocabulary, "run_file_bpe.gguf"), 4000);
    // User-defined tokens are also found by merging.
    for (text::TokenType& type : vocabulary.types)
      if (type == text::TokenType::kNormal) type = text::TokenType::kUserDefined;
    expect_same_ids(write_vocabulary(vocabulary, "run_file_bpe.gguf"), 1000);
  }
}

TEST(RunFileText, RealVocabulariesIdsEqual) {
  for (const char* name :
       {"gguf-vocab/ggml-vocab-llama-spm.gguf", "gguf-vocab/ggml-vocab-gpt-2.gguf",
        "gguf-vocab/ggml-vocab-mpt.gguf", "gguf-vocab/ggml-vocab-starcoder.gguf"}) {
    const auto path = testing::shared_path(std::string("data/tokenizers/") + name);
    if (!path) GTEST_SKIP() << "no shared data";
    SCOPED_TRACE(name);
    const auto header = gguf::File::open(*path);
    ASSERT_TRUE(header.ok());
    const auto tokenizer = model::load_tokenizer(header->metadata());
    ASSERT_TRUE(tokenizer.ok());
    expect_same_ids(write_vocabulary(tokenizer->vocabulary(), "run_file_vocabulary.gguf"), 300);
  }
}

TEST(RunFileText, RealTokenizerJsonIdsEqual) {
  const auto folder = testing::shared_path("data/tokenizers/hf");
  if (!folder) GTEST_SKIP() << "no shared data";
  int compared = 0;
  for (const auto& entry : fs::recursive_directory_iterator(*folder)) {
    if (entry.path().filename() != "tokenizer.json") continue;
    const auto json = read_file(entry.path().string());
    const auto vocabulary = json.ok() ? text::vocabulary_from_tokenizer_json(*json)
                                      : Result<text::Vocabulary>(json.error());
    if (!vocabulary.ok() || vocabulary->kind != text::TokenizerKind::kByteLevelBpe) continue;
    if (vocabulary->pre != "gpt-2" && vocabulary->pre != "qwen2" &&
        vocabulary->pre != "llama-bpe" && vocabulary->pre != "smollm")
      continue;
    SCOPED_TRACE(entry.path());
    expect_same_ids(write_vocabulary(*vocabulary, "run_file_json.gguf"), 200);
    ++compared;
  }
  EXPECT_GE(compared, 1);
}

// ---- running

struct Ran {
  int code;
  std::string out, error;
};

std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

Ran run(const std::string& command) {
  const std::string base = (scratch_folder() / "run_file").string();
  const int status = std::system((command + " >" + base + ".out 2>" + base + ".err").c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), slurp(base + ".out"),
          slurp(base + ".err")};
}

// What geist run prints, by the engine itself.
std::string engine_text(const std::string& path, const std::string& prompt, int32_t tokens,
                        float temperature, uint64_t seed, bool raw) {
  auto file = gguf::File::open(path);
  const auto tokenizer = model::load_tokenizer(file->metadata());
  auto loaded = model::Model::load(std::move(*file), {});
  EXPECT_TRUE(loaded.ok()) << loaded.error().message;
  engine::Session session(**loaded, {});
  ThreadPool pool(2);
  engine::Runner runner(**loaded, pool);
  engine::SamplerOptions options;
  options.temperature = temperature;
  options.seed = seed;
  engine::Sampler sampler(options);
  const auto ids = engine::encode_prompt(*tokenizer, prompt, {.bos = !raw, .parse_special = !raw});
  EXPECT_TRUE(session.append(ids).ok());
  for (const auto id : ids) sampler.accept(id);
  engine::Generation generation(session, runner, sampler, *tokenizer, {.tokens_max = tokens});
  std::string out;
  for (;;) {
    auto step = generation.step();
    EXPECT_TRUE(step.ok());
    out += step->text;
    if (step->stop != engine::StopReason::kNone) return out;
  }
}

void expect_same_text(const std::string& path, const std::string& prompt, int32_t tokens) {
  for (const std::string program : {RUN_FILE, RUN_FILE_NATIVE}) {
    for (const uint64_t seed : {0, 1, 2, 77}) {
      for (const bool raw : {false, true}) {
        const std::string options = seed == 0 ? "" : " --seed " + std::to_string(seed);
        const Ran ran = run(program + " " + quoted(path) + " " + quoted(prompt) + " -n " +
                            std::to_string(tokens) + options + (raw ? " --raw" : ""));
        EXPECT_EQ(ran.code, 0) << ran.error;
        EXPECT_EQ(ran.out, engine_text(path, prompt, tokens, seed == 0 ? 0.0f : 0.8f, seed, raw))
            << path << " seed " << seed << (raw ? " raw" : "");
      }
    }
  }
}

TEST(RunFile, ContinuesStoriesAsTheEngineDoes) {
  const auto path = testing::shared_path("data/golden/dev/models/stories260K.gguf");
  if (!path) GTEST_SKIP() << "no shared data";
  expect_same_text(*path, "Once upon a time, there was a", 60);
}

// A random model with a vocabulary of bytes, written as a file; `more` is added to its metadata.
std::string write_random_model(std::string_view variant, kernels::TensorType type,
                               const gguf::Metadata& more = {}) {
  const gguf::File file = testing::random_model(variant, type, 5);
  gguf::Metadata metadata = file.metadata();
  for (const auto& [key, value] : more) metadata[key] = value;
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};
  for (int b = 0; b < 256; ++b) {
    char text[8];
    std::snprintf(text, sizeof(text), "<0x%02X>", b);
    tokens.push_back(text);
    types.push_back(6);
  }
  for (const char* word : {"a", "b", "ab", "\xe2\x96\x81",
                           "\xe2\x96\x81"
                           "a",
                           "the", "\xe2\x96\x81the"}) {
    tokens.push_back(word);
    types.push_back(1);
  }
  std::vector<float> scores;
  for (size_t i = 0; i < tokens.size(); ++i) scores.push_back(-static_cast<float>(i));
  metadata["tokenizer.ggml.model"] = gguf::Value::string("llama");
  metadata["tokenizer.ggml.tokens"] = gguf::Value::strings(tokens);
  metadata["tokenizer.ggml.token_type"] = gguf::Value::i32s(types);
  metadata["tokenizer.ggml.scores"] = gguf::Value::f32s(scores);
  const std::string path = (scratch_folder() / "run_file_model.gguf").string();
  std::vector<gguf::TensorToWrite> shapes;
  for (const gguf::Tensor& tensor : file.tensors())
    shapes.push_back({tensor.name, tensor.type, tensor.dims});
  auto writer = gguf::Writer::create(path, metadata, shapes);
  EXPECT_TRUE(writer.ok());
  for (const gguf::Tensor& tensor : file.tensors())
    EXPECT_TRUE(writer->write_tensor(tensor.data).ok());
  EXPECT_TRUE(writer->commit().ok());
  return path;
}

TEST(RunFile, RunsEveryTypeItReads) {
  using kernels::TensorType;
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16,
                                TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ6_K}) {
    SCOPED_TRACE(std::string(kernels::tensor_type_info(type).name));
    expect_same_text(write_random_model("llama", type), "the ab a \xc3\xa9", 40);
  }
}

TEST(RunFile, ScalesRotationsAsTheEngineDoes) {
  for (const char* variant : {"llama-linear", "llama-rope-divisors"}) {
    SCOPED_TRACE(variant);
    expect_same_text(write_random_model(variant, kernels::TensorType::kF32), "the ab", 40);
  }
}

// What a key of the architecture asks for is done as the engine does it, or refused.
TEST(RunFile, DoesOrRefusesWhatEveryKeyAsksFor) {
  using gguf::Value;
  const std::pair<const char*, Value> keys[] = {
      {"vocab_size", Value::u32(300)},
      {"expert_used_count", Value::u32(0)},
      {"attention.sliding_window", Value::u32(3)},
      {"attention.sliding_window_pattern", Value::u32(2)},
      {"attention.scale", Value::f32(0.9f)},
      {"attention.causal", Value::boolean(false)},
      {"attention.clamp_kqv", Value::f32(0.1f)},
      {"attention.max_alibi_bias", Value::f32(8.0f)},
      {"attention.layer_norm_epsilon", Value::f32(0.1f)},
      {"attention.key_length", Value::u32(8)},
      {"attention.value_length", Value::u32(8)},
      {"attn_logit_softcapping", Value::f32(2.0f)},
      {"final_logit_softcapping", Value::f32(0.01f)},
      {"embedding_scale", Value::f32(3.0f)},
      {"residual_scale", Value::f32(0.1f)},
      {"logit_scale", Value::f32(0.1f)},
      {"use_parallel_residual", Value::boolean(false)},
      {"pooling_type", Value::u32(1)},
      {"rope.dimension_count", Value::u32(4)},
      {"rope.freq_base", Value::f32(100.0f)},
      {"rope.freq_base_swa", Value::f32(100.0f)},
      {"rope.scale_linear", Value::f32(3.0f)},
      {"rope.scaling.type", Value::string("yarn")},
      {"rope.scaling.factor", Value::f32(3.0f)},
      {"rope.scaling.original_context_length", Value::u32(16)},
      {"rope.scaling.attn_factor", Value::f32(2.0f)},
      {"rope.scaling.yarn_beta_fast", Value::f32(2.0f)},
      {"rope.scaling.yarn_log_multiplier", Value::f32(0.5f)},
      {"rope.scaling.finetuned", Value::boolean(false)},
      {"an_invention_of_tomorrow", Value::f32(2.0f)},
  };
  int done = 0, refused = 0;
  for (const auto& [key, value] : keys) {
    SCOPED_TRACE(key);
    const std::string path = write_random_model("llama", kernels::TensorType::kF32,
                                                {{std::string("llama.") + key, value}});
    const Ran ran = run(std::string(RUN_FILE) + " " + quoted(path) + " 'the ab' -n 12");
    ran.code == 0 ? ++done : ++refused;
    if (ran.code == 0) {
      auto file = gguf::File::open(path);
      ASSERT_TRUE(model::Model::load(std::move(*file), {}).ok());
      EXPECT_EQ(ran.out, engine_text(path, "the ab", 12, 0, 0, false));
    } else {
      EXPECT_EQ(ran.code, 1);
      EXPECT_EQ(std::count(ran.error.begin(), ran.error.end(), '\n'), 1) << ran.error;
    }
  }
  EXPECT_GE(done, 8);
  EXPECT_GE(refused, 12);
}

// What the file's name says of its tokenizer, and an end token of a kind of its own.
TEST(RunFile, KnowsWhatOtherKeysSayOfTokens) {
  using gguf::Value;
  for (const char* name : {"Phi-3 mini", "my phi3", "modern-bert"}) {
    const std::string path = write_random_model("llama", kernels::TensorType::kF32,
                                                {{"general.name", Value::string(name)}});
    const Ran ran = run(std::string(RUN_FILE) + " " + quoted(path) + " ab");
    EXPECT_EQ(ran.code, 1) << name;
    EXPECT_NE(ran.error.find("tokenizer"), std::string::npos) << ran.error;
  }
  const std::string plain = write_random_model("llama", kernels::TensorType::kF32);
  const std::string all = engine_text(plain, "ab", 40, 0, 0, false);
  int ended_early = 0;
  for (uint32_t id = 3; id < 40; ++id) {
    const std::string path = write_random_model("llama", kernels::TensorType::kF32,
                                                {{"tokenizer.ggml.eom_token_id", Value::u32(id)}});
    const Ran ran = run(std::string(RUN_FILE) + " " + quoted(path) + " ab -n 40");
    EXPECT_EQ(ran.code, 0) << ran.error;
    EXPECT_EQ(ran.out, engine_text(path, "ab", 40, 0, 0, false)) << id;
    ended_early += ran.out.size() < all.size();
  }
  EXPECT_GT(ended_early, 0);
}

// Longer than a page of keys and values, and to the end of the context.
TEST(RunFile, RunsToTheEndOfTheContext) {
  const std::string path = write_random_model("llama", kernels::TensorType::kF32);
  const Ran ran = run(std::string(RUN_FILE) + " " + quoted(path) + " ab --seed 3");
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.out, engine_text(path, "ab", -1, 0.8f, 3, false));
}

TEST(RunFile, RefusesWhatItDoesNotRead) {
  const Ran none = run(std::string(RUN_FILE) + " /nonexistent.gguf x");
  EXPECT_EQ(none.code, 1);
  EXPECT_EQ(none.error, "geist: /nonexistent.gguf: cannot be read, or is no GGUF file\n");
  EXPECT_EQ(run(RUN_FILE).code, 2);
  // A bias is refused wherever it stands, not left out.
  const std::string biased = write_random_model("llama-bias", kernels::TensorType::kF32);
  const Ran bias = run(std::string(RUN_FILE) + " " + quoted(biased) + " x");
  EXPECT_EQ(bias.code, 1);
  EXPECT_NE(bias.error.find("biases"), std::string::npos) << bias.error;
  const std::string gemma = write_random_model("gemma2", kernels::TensorType::kF32);
  const Ran other = run(std::string(RUN_FILE) + " " + quoted(gemma) + " x");
  EXPECT_EQ(other.code, 1);
  EXPECT_NE(other.error.find("geist run"), std::string::npos) << other.error;
}

// Cut short at any place, or with a number replaced: one line of error, never a crash. Built with
// the sanitizers of addresses and undefined behaviour.
TEST(RunFile, SurvivesDamagedFiles) {
  const std::string path = write_random_model("llama", kernels::TensorType::kQ8_0),
                    damaged = path + ".damaged";
  const std::string bytes = slurp(path);
  std::mt19937_64 random(6);
  constexpr uint64_t kNumbers[] = {0, 1, 255, 1u << 31, 0xffffffffu, 1ull << 40, 1ull << 63, ~0ull};
  for (int i = 0; i < 150; ++i) {
    std::string copy = bytes;
    if (i % 3 == 0) copy.resize(random() % copy.size());
    for (int k = 0; i % 3 != 0 && k < 3; ++k) {
      const size_t width = random() % 2 == 0 ? 8 : 4;
      std::memcpy(copy.data() + random() % 20'000, &kNumbers[random() % std::size(kNumbers)],
                  width);
    }
    std::ofstream(damaged, std::ios::binary) << copy;
    const Ran ran = run("ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 " +
                        std::string(RUN_FILE_CHECKED) + " " + quoted(damaged) + " 'a the' -n 1");
    ASSERT_TRUE(ran.code == 0 || ran.code == 1) << i << " " << ran.code << "\n" << ran.error;
    ASSERT_EQ(ran.error.find("anitizer"), std::string::npos) << ran.error;
    ASSERT_EQ(ran.code == 1, std::count(ran.error.begin(), ran.error.end(), '\n') == 1)
        << ran.error;
  }
}

TEST(RunFile, NeedsNoNetwork) {
  std::string cut;
  for (const char* tool : {"unshare --net", "unshare --map-root-user --net",
                           "bwrap --ro-bind / / --dev /dev --unshare-net"}) {
    if (run(std::string(tool) + " true").code == 0) {
      cut = tool;
      break;
    }
  }
  if (cut.empty()) GTEST_SKIP() << "neither unshare nor bwrap may cut the network off here";
  const std::string path = write_random_model("llama", kernels::TensorType::kQ4_0);
  const std::string command =
      std::string(RUN_FILE) + " " + quoted(path) + " 'the ab' -n 20 --seed 9";
  const Ran alone = run(cut + " " + command);
  EXPECT_EQ(alone.code, 0) << alone.error;
  EXPECT_EQ(alone.out, engine_text(path, "the ab", 20, 0.8f, 9, false));
}

// Everything comes from the C library: no other object is loaded.
TEST(RunFile, LinksTheCLibraryAlone) {
  const Ran needed = run("readelf -d " + std::string(RUN_FILE));
  if (needed.code != 0) GTEST_SKIP() << "no readelf";
  size_t count = 0;
  for (size_t at = 0; (at = needed.out.find("(NEEDED)", at)) != std::string::npos; ++at) ++count;
  EXPECT_EQ(count, 1u) << needed.out;
  EXPECT_NE(needed.out.find("libc.so"), std::string::npos);
}

TEST(RunFile, IsUnder500Lines) {
  const std::string source = slurp(std::string(GEIST_SOURCE_DIR) + "/run/geist.c");
  EXPECT_LT(std::count(source.begin(), source.end(), '\n'), 500);
}

}  // namespace
}  // namespace geist
