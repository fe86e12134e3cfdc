#include "train/tokenizer_export.h"

#include <nlohmann/json.hpp>

#include "text/pre_tokenizer.h"

namespace geist::train {
namespace {

using Json = nlohmann::ordered_json;
using gguf::Value;

constexpr std::string_view kChatTemplate = R"jinja({%- if tools %}
{{- '<|im_start|>system\n' }}
{%- if messages[0]['role'] == 'system' %}
{{- messages[0]['content'] + '\n' }}
{%- endif %}
{{- 'You may call these tools:\n' }}
{%- for tool in tools %}
{{- tool['function'] | tojson }}
{{- '\n' }}
{%- endfor %}
{{- 'To call one, answer <tool_call>{"name": "NAME", "arguments": {}}</tool_call><|im_end|>\n' }}
{%- elif messages[0]['role'] == 'system' %}
{{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message['role'] == 'tool' %}
{%- if loop.first or messages[loop.index0 - 1]['role'] != 'tool' %}
{{- '<|im_start|>user' }}
{%- endif %}
{{- '\n<tool_response>' + message['content'] + '</tool_response>' }}
{%- if loop.last or messages[loop.index0 + 1]['role'] != 'tool' %}
{{- '<|im_end|>\n' }}
{%- endif %}
{%- elif message['role'] == 'assistant' %}
{{- '<|im_start|>assistant\n' }}
{%- if message['content'] %}
{{- message['content'] }}
{%- endif %}
{%- for call in message['tool_calls'] or [] %}
{{- '<tool_call>{"name": "' + call['function']['name'] + '", "arguments": ' }}
{%- if call['function']['arguments'] is string %}
{{- call['function']['arguments'] }}
{%- else %}
{{- call['function']['arguments'] | tojson }}
{%- endif %}
{{- '}</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\n' }}
{%- elif not (loop.first and message['role'] == 'system') %}
{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' }}
{%- endif %})jinja";

std::vector<int32_t> type_numbers(const std::vector<text::TokenType>& types) {
  std::vector<int32_t> numbers;
  for (const text::TokenType type : types) numbers.push_back(static_cast<int32_t>(type));
  return numbers;
}

Json pre_tokenizer(const std::vector<std::string>& patterns) {
  Json steps = Json::array();
  for (const std::string& pattern : patterns)
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  steps.push_back({{"type", "ByteLevel"},
                   {"add_prefix_space", false},
                   {"trim_offsets", true},
                   {"use_regex", false}});
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

// <|endoftext|> before the text, as tokenizer.ggml.add_bos_token says.
Json post_processor(const text::Vocabulary& v) {
  const std::string& bos = v.tokens[static_cast<size_t>(v.bos)];
  const Json special = {{"SpecialToken", {{"id", bos}, {"type_id", 0}}}};
  const Json a = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json b = {{"Sequence", {{"id", "B"}, {"type_id", 0}}}};
  return {{"type", "TemplateProcessing"},
          {"single", Json::array({special, a})},
          {"pair", Json::array({special, a, b})},
          {"special_tokens",
           {{bos, {{"id", bos}, {"ids", Json::array({v.bos})}, {"tokens", Json::array({bos})}}}}}};
}

}  // namespace

std::string_view chat_template() { return kChatTemplate; }

gguf::Metadata tokenizer_metadata(const text::Vocabulary& v) {
  gguf::Metadata m;
  m["tokenizer.ggml.model"] = Value::string("gpt2");
  m["tokenizer.ggml.pre"] = Value::string(v.pre);
  m["tokenizer.ggml.tokens"] = Value::strings(v.tokens);
  m["tokenizer.ggml.token_type"] = Value::i32s(type_numbers(v.types));
  m["tokenizer.ggml.merges"] = Value::strings(v.merges);
  m["tokenizer.ggml.bos_token_id"] = Value::u32(static_cast<uint32_t>(v.bos));
  m["tokenizer.ggml.eos_token_id"] = Value::u32(static_cast<uint32_t>(v.eos));
  m["tokenizer.ggml.eot_token_id"] = Value::u32(static_cast<uint32_t>(v.eot));
  m["tokenizer.ggml.padding_token_id"] = Value::u32(static_cast<uint32_t>(v.pad));
  m["tokenizer.ggml.add_bos_token"] = Value::boolean(v.add_bos);
  m["tokenizer.ggml.add_eos_token"] = Value::boolean(v.add_eos);
  m["tokenizer.chat_template"] = Value::string(std::string(kChatTemplate));
  return m;
}

Status write_tokenizer_gguf(const std::string& path, const text::Vocabulary& vocabulary) {
  gguf::Metadata metadata = tokenizer_metadata(vocabulary);
  metadata["general.architecture"] = Value::string("llama");
  metadata["general.type"] = Value::string("vocab");
  GEIST_ASSIGN(gguf::Writer writer, gguf::Writer::create(path, metadata, {}));
  return writer.commit();
}

Result<std::string> tokenizer_json(const text::Vocabulary& v) {
  const std::vector<std::string> patterns = text::PreTokenizer::patterns_of_name(v.pre);
  if (patterns.empty())
    return errorf("tokenizer.json: the pre-tokenizer '%s' has no regular expression to write",
                  v.pre.c_str());
  Json added = Json::array(), vocab = Json::object(), merges = Json::array();
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    vocab[v.tokens[id]] = id;
    if (v.types[id] == text::TokenType::kNormal) continue;
    added.push_back({{"id", id},
                     {"content", v.tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", v.types[id] == text::TokenType::kControl}});
  }
  for (const std::string& merge : v.merges) merges.push_back(merge);
  const Json root = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", std::move(added)},
      {"normalizer", nullptr},
      {"pre_tokenizer", pre_tokenizer(patterns)},
      {"post_processor", post_processor(v)},
      {"decoder",
       {{"type", "ByteLevel"},
        {"add_prefix_space", true},
        {"trim_offsets", true},
        {"use_regex", true}}},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", v.ignore_merges},
        {"vocab", std::move(vocab)},
        {"merges", std::move(merges)}}},
  };
  return root.dump(1) + "\n";
}

}  // namespace geist::train
