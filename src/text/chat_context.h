// What a conversation needs before a template that was written for less.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "text/chat_template.h"

namespace geist::text {

// Some templates refuse a system message or leave it out. For those a leading system message is put
// in front of the first user message, with a line end between; for all others the context comes
// back as it was. context_json: as for ChatTemplate::render.
Result<std::string> fold_system_message(const ChatTemplate& chat_template,
                                        std::string_view context_json);

}  // namespace geist::text
