// Any bytes as preferences: read or refused.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "train/preferences.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace geist::train;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto sink = [](const Preference& preference, const std::string&) -> geist::Status {
    GEIST_CHECK(preference.label ? preference.answers.size() == 1 : preference.answers.size() >= 2);
    for (const Conversation& c : preference.answers) GEIST_CHECK(c.messages.size() > 2);
    return {};
  };
  (void)read_preferences_from(bytes, "fuzz", sink).ok();
  return 0;
}
