// Any bytes as conversations: read or refused, and what is read goes through a chat template and a
// tokenizer.
#include <cstddef>
#include <cstdint>
#include <cstdio>

#include "base/check.h"
#include "train/chat_encoder.h"

namespace {

using namespace geist;

text::Tokenizer byte_tokenizer() {
  text::Vocabulary v;
  v.kind = text::TokenizerKind::kSentencePiece;
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(b));
    v.tokens.push_back(name);
    v.types.push_back(text::TokenType::kByte);
  }
  for (const char* token : {"<unk>", "<|im_start|>", "<|im_end|>"}) {
    v.tokens.push_back(token);
    v.types.push_back(text::TokenType::kControl);
  }
  v.unk = 256;
  v.scores.resize(v.tokens.size());
  return text::Tokenizer::create(std::move(v)).value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace geist::train;
  static const text::Tokenizer tokenizer = byte_tokenizer();
  static const ChatEncoder encoder = ChatEncoder::create({}, tokenizer, 0).value();
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto sink = [&](const Conversation& conversation, const std::string&) -> Status {
    const auto chats = encoder.encode(conversation);
    if (!chats.ok()) return {};
    for (const EncodedChat& chat : *chats) {
      GEIST_CHECK(chat.weights.size() + 1 == chat.ids.size() && chat.learned > 0);
      GEIST_CHECK(chat.weights.back() == 1.0f);
    }
    return {};
  };
  (void)read_conversations_from(bytes, "fuzz", ConversationFormat::kDetect, sink).ok();
  return 0;
}
