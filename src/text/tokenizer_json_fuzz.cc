// Fuzzes the reader of tokenizer.json. A first byte below 32 (no JSON begins so) chooses a file
// that a generator builds out of the rest, valid but for one place that it may spoil: random bytes
// hardly ever become a vocabulary with merges. Any other input is the file itself, and behind a
// zero byte the tokenizer_config.json. Whatever is accepted must be a tokenizer that encodes and
// decodes without harm, and whose ids are in range; what the generator did not spoil must be
// accepted.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace geist::text {
namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: broken promise: %s\n", what);
  std::abort();
}

constexpr std::string_view kLetters = "abcdefgh";

// Reads both files; tries what was accepted. Nothing when they are refused.
bool accepted(std::string_view json, std::string_view config, bool keeps_letters = false) {
  const Result<Tokenizer> tokenizer = Tokenizer::from_tokenizer_json(json, config);
  if (!tokenizer.ok()) {
    require(!tokenizer.error().message.empty(), "an error says something");
    require(tokenizer.error().message.find('\n') == std::string::npos, "an error is one line");
    return false;
  }
  for (const char* text : {"", "Hello, world 123", "  \n a\xff\xe2\x82", "<s>ab</s>", "<a0> <a1>b",
                           "abcdefgh hgfedcba aabbccdd"}) {
    const auto ids = tokenizer->encode(text, {.parse_special = true});
    for (const auto id : ids)
      require(id >= 0 && id < tokenizer->size(), "an id is in the vocabulary");
    tokenizer->decode(ids, true);
  }
  if (keeps_letters) {
    const std::string text = std::string(kLetters) + "hgfedcbaabababcdcdabcd";
    require(tokenizer->decode(tokenizer->encode(text)) == text, "letters come back");
  }
  return true;
}

// Small numbers out of the fuzzer's bytes; zeros after the end.
class Input {
 public:
  explicit Input(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  uint8_t byte() {
    if (bytes_.empty()) return 0;
    const uint8_t value = bytes_[0];
    bytes_ = bytes_.subspan(1);
    return value;
  }
  bool flag() { return byte() % 2 != 0; }
  size_t below(size_t limit) { return byte() % limit; }

 private:
  std::span<const uint8_t> bytes_;
};

enum class Kind { kByteLevel, kNormalized, kMetaspace, kWordPiece };

// A list of JSON, with commas.
class List {
 public:
  void add(const std::string& item) { text_ += (text_.empty() ? "" : ",") + item; }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::string quoted(const std::string& text) { return "\"" + text + "\""; }
std::string word(bool value) { return value ? "true" : "false"; }

// What is spoiled, if anything; each is refused for a reason of its own.
enum class Spoil {
  kNone,
  kNegativeId,
  kFractionalId,
  kHugeId,
  kTwiceId,
  kFarId,
  kEmptyAdded,
  kAddedWithoutId,
  kModelType,
  kNoVocabulary,
  kNormalizer,
  kPreTokenizer,
  kCut,
  kMerge,  // from here on: not for WordPiece
  kMergeType,
  kNoMerges,
  kCount
};

struct Generator {
  Kind kind;
  Spoil spoil;
  Input in;
  List vocabulary{}, merges{}, added{};
  std::vector<std::string> pieces{};
  size_t count = 0;

  void token(const std::string& text) {
    vocabulary.add(quoted(text) + ":" + std::to_string(count++));
  }
  void piece(const std::string& text) {
    if (std::find(pieces.begin(), pieces.end(), text) != pieces.end()) return;
    pieces.push_back(text);
    token(text);
  }

  void make_pieces() {
    if (kind == Kind::kWordPiece)
      for (const char* text : {"[UNK]", "[CLS]", "[SEP]"}) token(text);
    if (kind == Kind::kNormalized || kind == Kind::kMetaspace) {
      token("<unk>");
      piece("\u2581");
      for (size_t i = in.below(9); i > 0; --i) token("<0x4" + std::to_string(i) + ">");
    }
    for (const char c : kLetters) piece(std::string(1, c));
    for (size_t i = in.below(24); i > 0; --i) {
      const std::string left = pieces[in.below(pieces.size())];
      const std::string right = pieces[in.below(pieces.size())];
      if (left.size() + right.size() > 40) continue;
      if (in.flag()) piece(left + right);  // otherwise a merge that makes no token
      if (kind == Kind::kWordPiece && in.flag()) token("##" + right + std::to_string(i));
      merges.add(in.flag() ? quoted(left + " " + right)
                           : "[" + quoted(left) + "," + quoted(right) + "]");
    }
  }

  void make_added() {
    for (size_t i = 0, end = in.below(6); i < end; ++i) {
      count += in.byte() == 7 ? 3 : 0;  // a hole
      const std::string id = std::to_string(count++);
      added.add("{\"content\":\"<a" + std::to_string(i) + ">\",\"id\":" + id +
                ",\"special\":" + word(in.flag()) + ",\"lstrip\":" + word(in.flag()) +
                ",\"rstrip\":" + word(in.flag()) + "}");
    }
    if (spoil == Spoil::kEmptyAdded) added.add(R"({"content":"","id":900})");
    if (spoil == Spoil::kAddedWithoutId) added.add(R"({"content":"<x>"})");
  }

  void spoil_lists() {
    if (spoil == Spoil::kNegativeId) vocabulary.add(R"("bad":-1)");
    if (spoil == Spoil::kFractionalId) vocabulary.add(R"("bad":1.5)");
    if (spoil == Spoil::kHugeId) vocabulary.add(R"("bad":18446744073709551615)");
    if (spoil == Spoil::kTwiceId) vocabulary.add(R"("bad":0)");
    if (spoil == Spoil::kFarId) vocabulary.add(R"("bad":9000000)");
    if (spoil == Spoil::kMerge) merges.add(kind == Kind::kByteLevel ? R"("ab")" : R"(["a","b c"])");
    if (spoil == Spoil::kMergeType) merges.add("17");
  }

  std::string normalizer() const {
    if (spoil == Spoil::kNormalizer) return R"({"type":"Lowercase"})";
    switch (kind) {
      case Kind::kByteLevel:
        return R"({"type":"NFC"})";
      case Kind::kNormalized:
        return R"({"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},)"
               R"({"type":"Replace","pattern":{"String":" "},"content":"▁"}]})";
      case Kind::kMetaspace:
        return "null";
      case Kind::kWordPiece:
        return R"({"type":"BertNormalizer","lowercase":true})";
    }
    return "null";
  }

  std::string pre_tokenizer() {
    if (spoil == Spoil::kPreTokenizer) return R"({"type":"Whitespace"})";
    switch (kind) {
      case Kind::kByteLevel:
        return in.flag() ? R"({"type":"ByteLevel","add_prefix_space":false})"
                         : R"({"type":"Sequence","pretokenizers":[{"type":"Digits",)"
                           R"("individual_digits":true},{"type":"ByteLevel"}]})";
      case Kind::kNormalized:
        return "null";
      case Kind::kMetaspace:
        return R"({"type":"Metaspace","replacement":"▁","prepend_scheme":")" +
               std::string(in.flag() ? "first" : "never") + "\"}";
      case Kind::kWordPiece:
        return R"({"type":"BertPreTokenizer"})";
    }
    return "null";
  }

  std::string file() {
    make_pieces();
    make_added();
    spoil_lists();
    std::string json = "{\"normalizer\":" + normalizer() + ",\"pre_tokenizer\":" + pre_tokenizer();
    if (in.flag())
      json += R"(,"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":)"
              R"({"id":"<a0>"}},{"Sequence":{"id":"A"}}]})";
    const bool is_bpe = kind != Kind::kWordPiece;
    json += ",\"added_tokens\":[" + added.text() + "],\"model\":{\"type\":\"" +
            (spoil == Spoil::kModelType ? "Unigram"
             : is_bpe                   ? "BPE"
                                        : "WordPiece") +
            "\",\"unk_token\":\"" + (is_bpe ? "<unk>" : "[UNK]") +
            "\",\"byte_fallback\":" + word(in.flag()) + ",\"ignore_merges\":" + word(in.flag());
    if (spoil != Spoil::kNoVocabulary) json += ",\"vocab\":{" + vocabulary.text() + "}";
    if (spoil != Spoil::kNoMerges) json += ",\"merges\":[" + merges.text() + "]";
    json += "}}";
    if (spoil == Spoil::kCut) json.resize(json.size() - 1 - in.below(8));
    return json;
  }

  std::string config() {
    if (in.flag()) return "";
    return "{\"add_bos_token\":" + word(in.flag()) + ",\"add_eos_token\":" + word(in.flag()) +
           R"(,"bos_token":{"content":"<a1>"},"eos_token":"<a0>"})";
  }
};

void generated(uint8_t first, std::span<const uint8_t> rest) {
  const auto kind = static_cast<Kind>(first % 4);
  Input in(rest);
  auto spoil = Spoil::kNone;
  if (const uint8_t choice = in.byte(); choice >= 128)
    spoil = static_cast<Spoil>(choice % static_cast<uint8_t>(Spoil::kCount));
  if (kind == Kind::kWordPiece && spoil >= Spoil::kMerge) spoil = Spoil::kNone;
  Generator generator{.kind = kind, .spoil = spoil, .in = in};
  const std::string json = generator.file(), config = generator.config();
  // BOS and the like may be shown, when an added token that is not special stands for them.
  const bool parsed = accepted(json, config);
  require(parsed == (spoil == Spoil::kNone), "a valid file is read, a spoiled one is not");
  if (parsed && kind != Kind::kWordPiece && config.empty() && generator.added.text().empty())
    accepted(json, config, /*keeps_letters=*/true);
}

}  // namespace
}  // namespace geist::text

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0 && data[0] < 32) {
    geist::text::generated(data[0], {data + 1, size - 1});
    return 0;
  }
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  geist::text::accepted(input.substr(0, zero), zero == std::string_view::npos
                                                   ? std::string_view()
                                                   : input.substr(zero + 1));
  return 0;
}
