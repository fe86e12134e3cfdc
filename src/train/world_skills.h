// One maker a skill (train/world.h); world.cc puts what they make into JSON.
#pragma once

#include "train/world.h"

namespace geist::train {

Problem make_arithmetic(Split split, RandomStream& random);
Problem make_lookup(Split split, RandomStream& random);
Problem make_unanswerable(Split split, RandomStream& random);
Problem make_tool_call(Split split, RandomStream& random);
Problem make_no_tool(Split split, RandomStream& random);
Problem make_form(Split split, RandomStream& random);

}  // namespace geist::train
