// What is learned of a conversation, exactly: with templates of our own, with those that real
// models ship, and against the {% generation %} marks that others put into the same templates.
#include "train/chat_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "model/load_tokenizer.h"
#include "tests/support/shared_data.h"
#include "train/tokenizer_export.h"

namespace geist::train {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kTime = 1767225600;

// Every byte, and the tokens that end turns in many families.
text::Vocabulary vocabulary() {
  text::Vocabulary v;
  v.kind = text::TokenizerKind::kSentencePiece;
  const auto add = [&](std::string token, text::TokenType type) {
    v.tokens.push_back(std::move(token));
    v.types.push_back(type);
    v.scores.push_back(0);
    return static_cast<text::TokenId>(v.tokens.size()) - 1;
  };
  v.unk = add("<unk>", text::TokenType::kUnknown);
  v.bos = add("<s>", text::TokenType::kControl);
  v.eos = add("</s>", text::TokenType::kControl);
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(b));
    add(name, text::TokenType::kByte);
  }
  for (const char* end : {"<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|eom_id|>", "<|end|>",
                          "<|endoftext|>", "<｜end▁of▁sentence｜>"})
    add(end, text::TokenType::kControl);
  v.add_space_prefix = false;
  return v;
}

gguf::Metadata with_template(const std::string& source) {
  return {{"tokenizer.chat_template", gguf::Value::string(source)}};
}

class ChatEncoderTest : public ::testing::Test {
 protected:
  Result<std::vector<EncodedChat>> encode(const std::string& chat_template, const Json& record) {
    auto encoder = ChatEncoder::create(with_template(chat_template), tokenizer_, kTime);
    if (!encoder.ok()) return encoder.error();
    auto conversation = to_conversation(record, ConversationFormat::kDetect);
    if (!conversation.ok()) return conversation.error();
    return encoder->encode(*conversation);
  }
  // Each sequence with what is learned of it in brackets.
  std::string shown(const std::string& chat_template, const Json& record) {
    const auto chats = encode(chat_template, record);
    if (!chats.ok()) return "error: " + chats.error().message;
    std::string out;
    for (const EncodedChat& chat : *chats) {
      out += chats->size() > 1 ? "#" : "";
      bool open = false;
      for (size_t i = 0; i < chat.ids.size(); ++i) {
        const bool learned = i > 0 && chat.weights[i - 1] != 0;
        if (learned != open) out += learned ? "{{" : "}}";
        open = learned;
        out += tokenizer_.token_bytes(chat.ids[i], true);
      }
      if (open) out += "}}";
    }
    return out;
  }

  text::Tokenizer tokenizer_ = text::Tokenizer::create(vocabulary()).value();
};

std::string read(const fs::path& path) { return read_file(path.string()).value(); }

Json chat() {
  return Json::parse(R"({"messages": [
    {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi <there>"},
    {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]})");
}
Json tool_chat() {
  return Json::parse(
      R"({"tools": [{"type": "function", "function": {"name": "f", "description": "d",
      "parameters": {"type": "object", "properties": {"x": {"type": "string", "description": "x"}}}}}],
    "messages": [{"role": "user", "content": "Ask f"},
    {"role": "assistant", "content": "", "tool_calls": [{"id": "call00000", "type": "function",
      "function": {"name": "f", "arguments": {"x": "1"}}}]},
    {"role": "tool", "tool_call_id": "call00000", "content": "two"},
    {"role": "assistant", "content": "It is two."}]})");
}

// ---- templates of our own

constexpr const char* kTurns =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

TEST_F(ChatEncoderTest, LearnsEveryAnswerAndItsEndAndNothingElse) {
  EXPECT_EQ(shown(kTurns, chat()),
            "<user>Hello<|im_end|>\n<assistant>{{Hi <there><|im_end|>}}\n<user>Who?<|im_end|>\n"
            "<assistant>{{Me.<|im_end|>}}");
}

TEST_F(ChatEncoderTest, PutsBosInFrontWhereTheVocabularyAsksForIt) {
  text::Vocabulary v = vocabulary();
  v.add_bos = true;
  tokenizer_ = text::Tokenizer::create(v).value();
  const auto chats = encode(kTurns, chat());
  ASSERT_TRUE(chats.ok());
  EXPECT_EQ((*chats)[0].ids[0], v.bos);
  EXPECT_EQ((*chats)[0].weights.size() + 1, (*chats)[0].ids.size());
  EXPECT_EQ((*chats)[0].learned, int64_t{10 + 1 + 3 + 1});
  EXPECT_EQ((*chats)[0].learned_bytes, uint64_t{10 + 10 + 3 + 10});
}

TEST_F(ChatEncoderTest, TheGivenPromptIsTheModelsPrompt) {
  // With a vocabulary that merges across the boundary the prompt still ends where it does at run
  // time.
  text::Vocabulary v = vocabulary();
  v.tokens.insert(v.tokens.end(), {":", "H", ":H", "i"});
  v.types.resize(v.tokens.size(), text::TokenType::kNormal);
  v.scores.resize(v.tokens.size(), -1.0f);
  tokenizer_ = text::Tokenizer::create(v).value();
  EXPECT_EQ(tokenizer_.encode(":Hi").size(), 2u);
  const auto chats = encode(
      "{% for m in messages %}{{ m.role }}:{{ m.content }}</s>{% endfor %}"
      "{% if add_generation_prompt %}assistant:{% endif %}",
      Json::parse(R"({"messages": [{"role": "user", "content": "x"},
                                {"role": "assistant", "content": "Hi"}]})"));
  ASSERT_TRUE(chats.ok());
  EXPECT_EQ((*chats)[0].learned, 3);
}

TEST_F(ChatEncoderTest, LearnsOnlyTheTurnsOfWeightOne) {
  Json record = chat();
  record["messages"][1]["weight"] = 0;
  EXPECT_THAT(shown(kTurns, record), HasSubstr("<assistant>Hi <there><|im_end|>\n<user>"));
  record["messages"][3]["weight"] = 0;
  EXPECT_THAT(shown(kTurns, record), HasSubstr("no assistant message"));
}

TEST_F(ChatEncoderTest, WhatComesBehindTheLastAnswerIsLeftOut) {
  Json record = chat();
  record["messages"].erase(3);
  EXPECT_EQ(shown(kTurns, record), "<user>Hello<|im_end|>\n<assistant>{{Hi <there><|im_end|>}}");
}

TEST_F(ChatEncoderTest, AnEndThatTheNextTurnWritesIsLearned) {
  EXPECT_EQ(shown("{% for m in messages %}{% if not loop.first %}</s>{% endif %}{{ m.role }}:"
                  "{{ m.content }}{% endfor %}"
                  "{% if add_generation_prompt %}</s>assistant:{% endif %}",
                  chat()),
            "user:Hello</s>assistant:{{Hi <there></s>}}user:Who?</s>assistant:{{Me.}}");
}

TEST_F(ChatEncoderTest, GenerationMarksDecide) {
  const std::string marked =
      "{% for m in messages %}{% if m.role == 'assistant' %}<assistant>"
      "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}<{{ m.role }}>"
      "{{ m.content }}<|im_end|>{% endif %}{{ '\n' }}{% endfor %}";
  EXPECT_EQ(shown(marked, chat()), shown(kTurns, chat()));
  Json record = chat();
  record["messages"][1]["weight"] = 0;
  EXPECT_EQ(shown(marked, record), shown(kTurns, record));
}

TEST_F(ChatEncoderTest, AMarkInsideAMacroIsNotBelieved) {
  EXPECT_EQ(shown("{% macro say(m) %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
                  "{% endmacro %}{% for m in messages %}<{{ m.role }}>{{ say(m) }}\n{% endfor %}"
                  "{% if add_generation_prompt %}<assistant>{% endif %}",
                  chat()),
            shown(kTurns, chat()));
}

TEST_F(ChatEncoderTest, ATemplateThatForgetsThoughtsMakesASequenceOfEachTurn) {
  EXPECT_EQ(shown("{% for m in messages %}<{{ m.role }}>"
                  "{% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}"
                  "{{ m.content }}<|im_end|>{% endfor %}"
                  "{% if add_generation_prompt %}<assistant>{% endif %}",
                  chat()),
            "#<user>Hello<|im_end|><assistant>{{<think></think>Hi <there><|im_end|>}}"
            "#<user>Hello<|im_end|><assistant>Hi <there><|im_end|><user>Who?<|im_end|><assistant>"
            "{{<think></think>Me.<|im_end|>}}");
}

TEST_F(ChatEncoderTest, RefusesWhatItCannotTell) {
  EXPECT_THAT(shown("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
                    "{% if add_generation_prompt %}<assistant><think>{% endif %}",
                    chat()),
              HasSubstr("message 1: what is the assistant's cannot be told: as a prompt the chat "
                        "template ends in '\"<user>Hello<assistant><think>\"'"));
  EXPECT_THAT(shown("{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{{ p.text }}"
                    "{% endfor %}{% endfor %}",
                    chat()),
              HasSubstr("does not show what the assistant says"));
  EXPECT_THAT(shown(kTurns, tool_chat()), HasSubstr("does not show tool calls"));
  EXPECT_THAT(shown("{{ raise_exception('no chat') }}", chat()), HasSubstr("no chat"));
}

TEST_F(ChatEncoderTest, ArgumentsComeAsTheTemplateWantsThem) {
  const std::string head =
      "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls or [] %}"
      "{{ c.function.name }}(";
  const std::string tail =
      "){% endfor %}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
  const std::string wanted =
      "<user>Ask f</s><assistant>{{f({\"x\": \"1\"})</s>}}<tool>two</s><assistant>{{It is "
      "two.</s>}}";
  EXPECT_EQ(shown(head + "{{ c.function.arguments | tojson }}" + tail, tool_chat()), wanted);
  Json record = tool_chat();
  auto& arguments = record["messages"][1]["tool_calls"][0]["function"]["arguments"];
  arguments = arguments.dump();
  EXPECT_EQ(shown(head + "{{ c.function.arguments | tojson }}" + tail, record), wanted);
  std::string compact = wanted;
  compact.erase(compact.find(": ") + 1, 1);
  EXPECT_EQ(shown(head + "{{ c.function.arguments }}" + tail, record), compact);
}

TEST_F(ChatEncoderTest, OurOwnTemplateWithTools) {
  const std::string said = shown(std::string(chat_template()), tool_chat());
  EXPECT_THAT(said,
              HasSubstr("<|im_start|>assistant\n{{<tool_call>{\"name\": \"f\", \"arguments\": "
                        "{\"x\": \"1\"}}</tool_call><|im_end|>}}\n"));
  EXPECT_THAT(said, HasSubstr("<|im_start|>assistant\n{{It is two.<|im_end|>}}"));
}

// ---- templates of real models

struct Expected {
  const char* name;
  const char *first, *second;  // what is learned of chat()
};

TEST_F(ChatEncoderTest, RealTemplates) {
  const auto folder = testing::shared_path("data/templates/models/models/templates");
  if (!folder) GTEST_SKIP() << "no shared data";
  constexpr Expected kExpected[] = {
      {"Qwen-Qwen2.5-7B-Instruct", "Hi <there><|im_end|>", "Me.<|im_end|>"},
      {"Qwen-Qwen3-0.6B", "<think>\n\n</think>\n\nHi <there><|im_end|>",
       "<think>\n\n</think>\n\nMe.<|im_end|>"},
      {"google-gemma-2-2b-it", "Hi <there><end_of_turn>", "Me.<end_of_turn>"},
      {"meta-llama-Llama-3.1-8B-Instruct", "Hi <there><|eot_id|>", "Me.<|eot_id|>"},
      {"microsoft-Phi-3.5-mini-instruct", "Hi <there><|end|>", "Me.<|end|>"},
      {"mistralai-Mistral-Nemo-Instruct-2407", "Hi <there></s>", "Me.</s>"},
      {"deepseek-ai-DeepSeek-V3.1", "Hi <there><｜end▁of▁sentence｜>", "Me.<｜end▁of▁sentence｜>"},
      {"HuggingFaceTB-SmolLM3-3B", "Hi <there><|im_end|>", "Me.<|im_end|>"},
      {"meetkai-functionary-medium-v3.2", "all\nHi <there><|eot_id|>", "all\nMe.<|eot_id|>"},
      {"llama-cpp-rwkv-world", " Hi <there>\n\n", " Me.\n\n"},
  };
  for (const Expected& e : kExpected) {
    const std::string said =
        shown(read(fs::path(*folder) / (std::string(e.name) + ".jinja")), chat());
    const std::string first = "{{" + std::string(e.first) + "}}",
                      second = "{{" + std::string(e.second) + "}}";
    ASSERT_THAT(said, HasSubstr(first)) << e.name;
    EXPECT_TRUE(said.ends_with(second)) << e.name << ": " << said;
    EXPECT_EQ(said.find("{{"), said.find(first)) << e.name;
    EXPECT_EQ(said.find("{{", said.find(first) + 2), said.rfind("{{")) << e.name;
  }
}

// The same templates with {% generation %} marks by other hands.
TEST_F(ChatEncoderTest, AgreesWithMarksThatOthersMade) {
  const auto folder = testing::shared_path("data/templates/trl");
  if (!folder) GTEST_SKIP() << "no shared data";
  const auto learned = [&](const std::string& name, const Json& record) {
    const std::string said = shown(read(fs::path(*folder) / (name + ".jinja")), record);
    std::vector<std::string> out;
    for (size_t at = 0; (at = said.find("{{", at)) != std::string::npos;) {
      // A call's JSON ends in braces too.
      size_t end = said.find("}}", at);
      while (said.substr(end, 3) == "}}}") ++end;
      out.push_back(said.substr(at, end - at));
      at = end;
    }
    return out;
  };
  for (const std::string name :
       {"cohere", "cohere2", "gemma", "gemma3", "llama3", "lfm2", "phi3", "phi3_5", "qwen2_5_vl",
        "qwen3", "qwen3_instruct_2507", "qwen3_vl"})
    EXPECT_EQ(learned(name, chat()), learned(name + "_training", chat())) << name;
  for (const std::string name : {"qwen3", "qwen3_instruct_2507", "qwen3_vl"}) {
    EXPECT_EQ(learned(name, tool_chat()), learned(name + "_training", tool_chat())) << name;
    EXPECT_GE(learned(name, tool_chat()).size(), 2u) << name;
  }
}

}  // namespace
}  // namespace geist::train
