// The data of a small mind, made by rule: little stories, arithmetic with worked steps, questions
// on a given passage (some of which it cannot answer), calls of tools that the system prompt
// describes, and answers in a wanted form. Everything is a function of a seed.
//
// Held out by construction: what a problem is about (the sum, each fact of a passage, the tool and
// its arguments, the words to be put in a form, the people of a story) is spelled as a key, and a
// hash of the key says whether it belongs to training or is held out. A problem for one side is
// drawn until its keys fall there, so no key of a held-out problem can occur in training data of
// any kind or seed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"

namespace geist::train {

enum class Split : uint8_t { kTrain, kHeldOut };
enum class Skill : uint8_t { kArithmetic, kLookup, kUnanswerable, kTool, kNoTool, kForm };
inline constexpr Skill kSkills[] = {Skill::kArithmetic, Skill::kLookup, Skill::kUnanswerable,
                                    Skill::kTool,       Skill::kNoTool, Skill::kForm};
std::string_view skill_name(Skill skill);

// One key in eight is held out.
Split split_of(std::string_view key);

// One turn that can be graded.
struct Problem {
  Skill skill = Skill::kArithmetic;
  std::vector<std::string> keys;  // what it is about
  std::string tools;              // a JSON list in OpenAI's form, or empty
  std::string prompt;             // what the user says
  std::string answer;             // a right answer; of kTool: what a model writes, markers included
  std::string worse;              // a wrong one that looks like it, for pairs
  std::string check;              // a JSON object for grade() (train/world_grader.h)
};

// Draws a problem whose keys all belong to `split`.
Problem make_problem(Skill skill, Split split, RandomStream& random);

// A story of a few sentences whose key belongs to `split`; the key goes to *key.
std::string make_story(Split split, RandomStream& random, std::string* key);

// A document for pre-training: a story, sums, or a passage with questions and answers.
std::string make_document(Split split, RandomStream& random);

// Lines of JSON, without the newline.
// {"messages": [...], "tools": [...]} with the answer as the assistant's message (OpenAI's form).
std::string chat_line(const Problem& problem);
// {"prompt": [messages], "tools": [...], "chosen": "...", "rejected": "..."}
std::string pair_line(const Problem& problem);
// {"skill": ..., "messages": [...], "tools": [...], "answer": "...", "check": {...}, "keys": [...]}
std::string eval_line(const Problem& problem);

}  // namespace geist::train
