// One maker a skill (train/world.h); world.cc puts what they make into JSON.
#pragma once

#include "train/world.h"
#include "train/world_words.h"

namespace geist::train {

// The side on which keys of this split must fall, and the wordings it has.
inline Split contents_of(Split split) {
  return split == Split::kTrain ? Split::kTrain : Split::kHeldOut;
}
inline Wording wording_of(Split split) {
  return split == Split::kNewWording ? Wording::kReserved : Wording::kCommon;
}

// A call as a model writes it.
std::string call_text(const ToolCall& call);

// {"kind": kind, "value": value}, for grade().
std::string check_of(std::string_view kind, const std::string& value);

Problem make_arithmetic(Split split, RandomStream& random);
Problem make_lookup(Split split, RandomStream& random);
Problem make_unanswerable(Split split, RandomStream& random);
Problem make_follow_up(Split split, RandomStream& random);
Problem make_tool_call(Split split, RandomStream& random);
Problem make_no_tool(Split split, RandomStream& random);
Problem make_tool_result(Split split, RandomStream& random);
Problem make_form(Split split, RandomStream& random);
Problem make_system(Split split, RandomStream& random);

// Three to six facts of one attribute, told three times in another order and other words.
std::string write_retelling(Split split, RandomStream& random);
// The names of some tools, and which of them serves each of eight requests, if any does.
std::string write_roll_call(Split split, RandomStream& random);

}  // namespace geist::train
