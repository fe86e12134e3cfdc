// The records of a file of training data: JSON Lines, or one JSON list. Each comes with the place
// that it stands at, for errors: "chats.jsonl:12", "chats.json[11]".
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace geist::train {

// An error stops the reading and is passed on.
using RecordSink =
    std::function<Status(const nlohmann::ordered_json& record, const std::string& where)>;

Status read_json_records(const std::string& path, const RecordSink& sink);
// The same over bytes in memory; `name` stands in errors.
Status read_json_records_from(std::string_view bytes, const std::string& name,
                              const RecordSink& sink);

}  // namespace geist::train
