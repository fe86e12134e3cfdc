// A template, a zero byte, and the JSON of its context; small limits, so that every input ends
// soon.
#include <cstdlib>
#include <string_view>

#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  const std::string_view context = zero == std::string_view::npos ? "{}" : input.substr(zero + 1);
  const auto parsed = geist::text::ChatTemplate::parse(input.substr(0, zero));
  if (!parsed.ok()) return parsed.error().message.empty() ? (std::abort(), 0) : 0;
  geist::text::RenderLimits limits;
  limits.steps_max = 20'000;
  limits.memory_bytes_max = 4 << 20;
  limits.output_bytes_max = 1 << 20;
  const auto first = parsed->render(context, 1'700'000'000, limits);
  const auto second = parsed->render(context, 1'700'000'000, limits);
  // A rendering depends on its arguments alone.
  if (first.ok() != second.ok() || (first.ok() && *first != *second)) std::abort();
  return 0;
}
