// Chat templates: the Jinja that models ship, by our own interpreter. Templates are hostile input:
// they see only the values given, cannot touch the host, and run under a budget of steps and output
// bytes. Rendering follows Hugging Face's settings: trim_blocks and lstrip_blocks on, no
// auto-escape.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace geist::text {

struct RenderLimits {
  uint64_t steps_max = 20'000'000;  // nodes evaluated, iterations, and a step for 16 bytes built
  uint64_t memory_bytes_max = 128ull << 20;  // all values made during one rendering
  uint64_t output_bytes_max = 32ull << 20;
  uint64_t depth_max = 400;  // nested evaluations, macro calls and values
};

struct TextSpan {
  size_t begin = 0, end = 0;
};

class ChatTemplate {
 public:
  // Parses; an error names line and column.
  static Result<ChatTemplate> parse(std::string_view source);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // context: a JSON object of variables (messages, tools, bos_token, add_generation_prompt, ...);
  // the order of its keys is kept. unix_time_s is what strftime_now sees (UTC): the caller's clock,
  // so that a journal can replay it. raise_exception() and exceeded limits are errors.
  // generated: null, or where to put what {% generation %} blocks printed, in order.
  Result<std::string> render(std::string_view context_json, int64_t unix_time_s,
                             const RenderLimits& limits = {},
                             std::vector<TextSpan>* generated = nullptr) const;
  // Whether it has {% generation %} blocks, which name an assistant's words.
  bool marks_generation() const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace geist::text
