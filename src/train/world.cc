#include "train/world.h"

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "train/world_skills.h"

// The frame around the makers of problems: splits, stories, documents, and lines of JSON.

namespace geist::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kHeldOutOneIn = 8;

Json with_tools(const Problem& problem, Json line) {
  if (!problem.tools.empty()) line["tools"] = Json::parse(problem.tools);
  return line;
}

Json message_json(const Message& message) {
  if (message.calls.empty()) return {{"role", message.role}, {"content", message.content}};
  Json calls = Json::array();
  for (const ToolCall& call : message.calls)
    calls.push_back(
        {{"type", "function"}, {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  return {{"role", message.role}, {"content", nullptr}, {"tool_calls", calls}};
}

Json messages_json(const Problem& problem) {
  Json list = Json::array();
  for (const Message& message : problem.messages) list.push_back(message_json(message));
  return list;
}

Message answer_of(const Problem& p) {
  return {"assistant", p.calls.empty() ? p.answer : std::string(), p.calls};
}

// A problem and its answer as plain text.
std::string written(const Problem& p) {
  std::string text = p.tools.empty() ? "" : "Tools: " + p.tools + "\n";
  for (const Message& m : p.messages) {
    text += m.role == "system"      ? "Rule: "
            : m.role == "user"      ? "Question: "
            : m.role == "assistant" ? "Reply: "
                                    : "Result: ";
    for (const ToolCall& call : m.calls) text += call_text(call);
    text += m.content + "\n";
  }
  return text + "Reply: " + p.answer + "\n";
}

}  // namespace

std::string_view skill_name(Skill skill) {
  constexpr std::string_view kNames[] = {"arithmetic", "lookup",    "unanswerable",
                                         "tool",       "no_tool",   "form",
                                         "system",     "follow_up", "tool_result"};
  return kNames[static_cast<size_t>(skill)];
}

// FNV's low bits alone are weak for short keys: all of them are folded in.
Split split_of(std::string_view key) {
  uint64_t hash = stream_id(key);
  hash ^= hash >> 32;
  hash *= 0x9E3779B97F4A7C15u;
  return (hash >> 32) % kHeldOutOneIn == 0 ? Split::kHeldOut : Split::kTrain;
}

Problem make_problem(Skill skill, Split split, RandomStream& random) {
  switch (skill) {
    case Skill::kArithmetic:
      return make_arithmetic(split, random);
    case Skill::kLookup:
      return make_lookup(split, random);
    case Skill::kUnanswerable:
      return make_unanswerable(split, random);
    case Skill::kTool:
      return make_tool_call(split, random);
    case Skill::kNoTool:
      return make_no_tool(split, random);
    case Skill::kForm:
      return make_form(split, random);
    case Skill::kSystem:
      return make_system(split, random);
    case Skill::kFollowUp:
      return make_follow_up(split, random);
    case Skill::kToolResult:
      return make_tool_result(split, random);
  }
  GEIST_CHECK(false);
}

std::string make_story(Split split, RandomStream& random, std::string* key) {
  Slots s;
  do {
    s["hero"] = pick_name(random);
    s["friend"] = pick_name(random);
    s["place"] = pick(places(), random);
    s["thing"] = pick(things(), random);
    *key = "story " + s["hero"] + " " + s["friend"] + " " + s["place"] + " " + s["thing"];
  } while (split_of(*key) != contents_of(split) || s["hero"] == s["friend"]);
  s["job"] = pick(jobs(), random);
  s["trait"] = pick(traits(), random);
  s["animal"] = pick(animals(), random);
  s["colour"] = pick(colours(), random);
  s["food"] = pick(foods(), random);
  s["other"] = pick(places(), random);
  return expand(
      "{Once there was|In a small house lived|Long ago there was} a $trait $job {called|whose name "
      "was} "
      "$hero. {$hero lived near the $place|$hero was at home by the $place} and had a "
      "{pet|tame|little} $animal. {One day|One morning|One evening}, {$hero lost a $colour "
      "$thing|the "
      "$colour $thing of $hero was gone|a bird took the $colour $thing of $hero}. {$hero was "
      "sad.|\"Where "
      "is my $thing?\" said $hero.|$hero looked for it all day.} {Then $friend came by|Soon "
      "$friend came "
      "along|At the $place, $hero met $friend} and {asked what was wrong|said, \"I will help "
      "you\"|offered "
      "to help}. {Together they went to the $other.|They walked to the $other and looked "
      "everywhere.|The "
      "$animal ran ahead to the $other.} {There lay the $thing under a tree.|The $animal found the "
      "$thing "
      "in the grass.|Behind a stone they saw the $colour $thing.} {$hero thanked $friend and gave "
      "them some "
      "$food.|\"Thank you,\" said $hero, and they ate $food together.|$hero was glad and shared a "
      "bag of "
      "$food with $friend.} {From that day on they were friends.|Then they all went home.|That "
      "night "
      "$hero slept well.}",
      s, wording_of(split), random);
}

std::string make_document(Split split, RandomStream& random) {
  std::string key;
  const uint64_t kind = random.next_below(20);
  if (kind < 2) return make_story(split, random, &key) + "\n";
  if (kind < 6) return written(make_quiz(split, random));
  if (kind < 8) return written(make_tool_quiz(split, random));
  if (kind < 11) return write_roll_call(split, random);
  if (kind < 13) return write_retelling(split, random);
  if (kind < 14) return write_recall(random);
  std::string text;
  if (kind < 16) {
    const uint64_t count = 2 + random.next_below(3);
    for (uint64_t i = 0; i < count; ++i) {
      const Problem p = make_arithmetic(split, random);
      text += p.messages[0].content + "\n" + p.answer + "\n";
    }
    return text;
  }
  constexpr Skill kSpoken[] = {Skill::kForm, Skill::kForm, Skill::kSystem, Skill::kToolResult};
  for (int i = 0; i < 3; ++i)
    text += written(make_problem(kSpoken[random.next_below(std::size(kSpoken))], split, random));
  return text;
}

Problem with_context(Problem problem, Split split, RandomStream& random) {
  std::vector<Message> before;
  if (problem.messages[0].role != "system" && random.next_below(6) == 0)
    before.push_back({"system", expand("{You are Geist.|You are a helpful assistant.|You are "
                                       "Geist, a small assistant.|Help the user.}",
                                       {}, Wording::kCommon, random)});
  constexpr Skill kShort[] = {Skill::kLookup, Skill::kForm};
  if (problem.messages[0].role != "system" && problem.tools.empty() && random.next_below(4) == 0) {
    const Problem other = make_problem(kShort[random.next_below(std::size(kShort))], split, random);
    before.insert(before.end(), other.messages.begin(), other.messages.end());
    before.push_back(answer_of(other));
    problem.keys.insert(problem.keys.end(), other.keys.begin(), other.keys.end());
  }
  problem.messages.insert(problem.messages.begin(), before.begin(), before.end());
  return problem;
}

std::string chat_line(const Problem& problem) {
  Json messages = messages_json(problem);
  messages.push_back(message_json(answer_of(problem)));
  return with_tools(problem, {{"messages", messages}}).dump();
}

std::string pair_line(const Problem& problem) {
  return with_tools(problem, {{"prompt", messages_json(problem)},
                              {"chosen", problem.answer},
                              {"rejected", problem.worse}})
      .dump();
}

std::string eval_line(const Problem& problem) {
  return with_tools(problem, {{"skill", skill_name(problem.skill)},
                              {"messages", messages_json(problem)},
                              {"answer", problem.answer},
                              {"check", Json::parse(problem.check)},
                              {"keys", problem.keys}})
      .dump();
}

}  // namespace geist::train
