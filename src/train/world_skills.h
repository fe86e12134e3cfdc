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

// Documents for pre-training that ask many times, so that most of their lines can be foreseen only
// by looking back. What they state or call belongs to `split`. A passage of three to six facts, a
// question on each of them in some order, and questions that it does not answer.
std::string write_quiz(Split split, RandomStream& random);
// Five requests to one list of tools; about half of them no tool of the list serves.
std::string write_tool_quiz(Split split, RandomStream& random);

}  // namespace geist::train
