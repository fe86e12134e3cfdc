// The data of a small mind, made by rule: little stories, arithmetic with worked steps, questions
// on a given passage (some of which it cannot answer), calls of tools that the system prompt
// describes and what they gave, answers in a wanted form, rules of a system message, and turns that
// refer to earlier ones. Everything is a function of a seed.
//
// Held out by construction, in two senses:
// - Contents. What a problem is about (the sum, each fact of a passage, the tool and its arguments,
//   the words to be put in a form, the people of a story) is spelled as a key, and a hash of the
//   key says whether it belongs to training or is held out. A problem for one side is drawn until
//   its keys fall there, so no key of a held-out problem occurs in training data of any kind or
//   seed: not that sum, not one sentence that states that fact. Words and the wordings of sentences
//   and questions are shared.
// - Wordings. Split::kNewWording has held-out contents in wordings that are reserved for it: no
//   question, request or sentence of a passage of it is made from a template that training has.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"

namespace geist::train {

enum class Split : uint8_t { kTrain, kHeldOut, kNewWording };
enum class Skill : uint8_t {
  kArithmetic,
  kLookup,
  kUnanswerable,
  kTool,
  kNoTool,
  kForm,
  kSystem,      // a rule in the system message
  kFollowUp,    // a second question on a passage
  kToolResult,  // say what a tool gave
};
inline constexpr Skill kSkills[] = {Skill::kArithmetic, Skill::kLookup,   Skill::kUnanswerable,
                                    Skill::kTool,       Skill::kNoTool,   Skill::kForm,
                                    Skill::kSystem,     Skill::kFollowUp, Skill::kToolResult};
std::string_view skill_name(Skill skill);

// kTrain or kHeldOut: one key in eight is held out.
Split split_of(std::string_view key);

struct ToolCall {
  std::string name, arguments;  // arguments: a JSON object
};

struct Message {
  std::string role, content;  // "system", "user", "assistant", "tool"
  std::vector<ToolCall> calls = {};
};

// A conversation up to the turn that can be graded.
struct Problem {
  Skill skill = Skill::kArithmetic;
  std::vector<std::string> keys;  // what it is about
  std::string tools;              // a JSON list in OpenAI's form, or empty
  std::vector<Message> messages;  // up to the answer
  std::string answer;             // a right answer; of kTool: what a model writes, markers included
  std::vector<ToolCall> calls;    // of the right answer
  std::string worse;              // a wrong one that looks like it, for pairs
  std::string check;              // a JSON object for grade() (train/world_grader.h)
};

// Draws a problem whose keys all belong to `split`.
Problem make_problem(Skill skill, Split split, RandomStream& random);

// A story of a few sentences whose key belongs to `split`; the key goes to *key.
std::string make_story(Split split, RandomStream& random, std::string* key);

// A document for pre-training: a story, sums, or problems of the other skills, written down.
std::string make_document(Split split, RandomStream& random);

// A document to read before all others: pairs of a name and a word, four times in another order.
// After a name only a look back tells the word (associative recall: Arora et al. 2023, "Zoology"),
// and nothing else is in the way of learning that. It states nothing: no key is in it.
std::string write_recall(RandomStream& random);

// Conversations that ask many times, so that most answers can be foreseen only by looking back;
// `answer` is that to the last question. A passage of three to six facts, a question on each of
// them in some order, and questions that it does not answer.
Problem make_quiz(Split split, RandomStream& random);
// Requests to one list of tools; about half of them no tool of the list serves.
Problem make_tool_quiz(Split split, RandomStream& random);

// The same problem further on in a conversation, now and then: behind a system message that asks
// for nothing in particular, behind another problem and its answer.
Problem with_context(Problem problem, Split split, RandomStream& random);

// Lines of JSON, without the newline.
// {"messages": [...], "tools": [...]} with the answer as the assistant's message (OpenAI's form).
std::string chat_line(const Problem& problem);
// {"prompt": [messages], "tools": [...], "chosen": "...", "rejected": "..."}
std::string pair_line(const Problem& problem);
// {"skill": ..., "messages": [...], "tools": [...], "answer": "...", "check": {...}, "keys": [...]}
std::string eval_line(const Problem& problem);

}  // namespace geist::train
