#include "train/world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "train/world_grader.h"
#include "train/world_words.h"

namespace geist::train {
namespace {

using Json = nlohmann::json;

Grade graded(const std::string& check, const std::string& answer) {
  const auto result = grade(check, answer);
  EXPECT_TRUE(result.ok()) << check;
  return result.ok() ? *result : Grade{};
}

TEST(World, RightAnswersPassAndWorseOnesFail) {
  RandomStream random(1, "world test");
  for (const Skill skill : kSkills) {
    for (int i = 0; i < 2000; ++i) {
      const Problem p = make_problem(skill, static_cast<Split>(i % 3), random);
      EXPECT_TRUE(graded(p.check, p.answer).right) << eval_line(p) << "\n" << p.answer;
      EXPECT_FALSE(graded(p.check, p.worse).right) << eval_line(p) << "\n" << p.worse;
      EXPECT_FALSE(graded(p.check, "").right);
      EXPECT_EQ(skill, p.skill);
      EXPECT_EQ(p.tools.empty(),
                skill != Skill::kTool && skill != Skill::kNoTool && skill != Skill::kToolResult);
      EXPECT_EQ(p.messages.back().role, skill == Skill::kToolResult ? "tool" : "user");
      for (const Message& m : p.messages)
        EXPECT_EQ(m.content.find_first_of("${|"),
                  skill == Skill::kToolResult && m.role == "tool" ? 0 : std::string::npos)
            << m.content;  // templates are filled in
    }
  }
}

TEST(World, HeldOutKeysNeverOccurInTraining) {
  std::set<std::string> train_keys, held_keys, train_prompts, held_prompts;
  for (const uint64_t seed : {1, 2, 3}) {
    RandomStream random(seed, "world test");
    for (const Skill skill : kSkills) {
      for (int i = 0; i < 3000; ++i) {
        const Split split = i % 2 == 0 ? Split::kHeldOut : Split::kTrain;
        const Problem p = make_problem(skill, split, random);
        ASSERT_FALSE(p.keys.empty());
        for (const std::string& key : p.keys) {
          ASSERT_EQ(split_of(key), split) << key;
          (split == Split::kTrain ? train_keys : held_keys).insert(key);
        }
        std::string asked = p.tools;
        for (const Message& m : p.messages) asked += "\n" + m.content;
        (split == Split::kTrain ? train_prompts : held_prompts).insert(asked);
      }
    }
    std::string key;
    for (int i = 0; i < 1000; ++i) {
      (void)make_story(i % 2 == 0 ? Split::kHeldOut : Split::kTrain, random, &key);
      (i % 2 == 0 ? held_keys : train_keys).insert(key);
    }
  }
  for (const std::string& key : held_keys) EXPECT_FALSE(train_keys.contains(key)) << key;
  for (const std::string& prompt : held_prompts) EXPECT_FALSE(train_prompts.contains(prompt));
  EXPECT_GT(held_prompts.size(), 10'000u);  // and there are many different ones
}

// The sentences that the user and the system say, with "_" for every word and name that is filled
// in and for every number.
void add_templates(const Problem& p, std::set<std::string>* out) {
  static const std::set<std::string, std::less<>> kFilled = [] {
    std::set<std::string, std::less<>> all;
    for (const WordList list : {places(), colours(), animals(), foods(), things(), jobs()})
      all.insert(list.begin(), list.end());
    for (const auto first : first_syllables())
      for (const auto last : last_syllables()) all.insert(std::string(first) + std::string(last));
    return all;
  }();
  for (const Message& m : p.messages) {
    if (m.role == "assistant" || m.role == "tool") continue;
    std::string sentence, word;
    for (const char c : m.content + "\n") {
      if ((c | 32) >= 'a' && (c | 32) <= 'z') {
        word += c;
        continue;
      }
      sentence += kFilled.contains(word) ? "_" : word;
      word.clear();
      if (c >= '0' && c <= '9') {
        if (!sentence.ends_with('_')) sentence += '_';
      } else if (c == '.' || c == '\n' || c == '?') {
        if (sentence.find_first_not_of("_ ,") != std::string::npos) out->insert(sentence);
        sentence.clear();
      } else if (c != ' ' || !sentence.empty()) {
        sentence += c;
      }
    }
  }
}

// Answers that state a held-out fact or make a held-out call; some of those of training do occur.
TEST(World, DocumentsStateNothingThatIsHeldOut) {
  RandomStream random(9, "world test");
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += make_document(Split::kTrain, random);
  std::set<std::string, std::less<>> lines;
  for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
    lines.insert(text.substr(begin, end - begin));
  for (const Skill skill : {Skill::kLookup, Skill::kFollowUp, Skill::kTool}) {
    int seen = 0;
    for (int i = 0; i < 2000; ++i) {
      const Problem held = make_problem(skill, Split::kHeldOut, random);
      if (held.answer == "The text does not say.") continue;
      EXPECT_FALSE(lines.contains("Reply: " + held.answer)) << held.answer;
      seen += lines.contains("Reply: " + make_problem(skill, Split::kTrain, random).answer);
    }
    EXPECT_GT(seen, 100) << skill_name(skill);
  }
}

TEST(World, ReservedWordingsNeverOccurInTraining) {
  RandomStream random(4, "world test");
  for (const Skill skill : kSkills) {
    std::set<std::string> train, reserved;
    for (int i = 0; i < 3000; ++i) {
      add_templates(make_problem(skill, Split::kTrain, random), &train);
      add_templates(make_problem(skill, Split::kNewWording, random), &reserved);
    }
    EXPECT_GE(reserved.size(), 1u) << skill_name(skill);
    for (const std::string& sentence : reserved)
      EXPECT_FALSE(train.contains(sentence)) << skill_name(skill) << ": " << sentence;
  }
}

// The name in "The home of Rako is near the forest.", a name and no other word with a capital.
std::string name_in(const std::string& answer) {
  const size_t of = answer.find(" of ");
  return of == std::string::npos ? "" : answer.substr(of + 4, answer.find(' ', of + 4) - of - 4);
}

TEST(World, AQuizAsksForEachFactOnceAndForPeopleWhoAreNotThere) {
  RandomStream random(6, "world test");
  int unknown = 0, known = 0;
  for (int i = 0; i < 500; ++i) {
    const Problem p = make_quiz(i % 2 == 0 ? Split::kTrain : Split::kHeldOut, random);
    const std::string passage = p.messages[0].content.substr(0, p.messages[0].content.rfind('\n'));
    std::set<std::string> names;
    for (size_t m = 0; m < p.messages.size(); m += 2) {
      const std::string question = p.messages[m].content.substr(m == 0 ? passage.size() : 0);
      const std::string& answer = m + 1 < p.messages.size() ? p.messages[m + 1].content : p.answer;
      if (answer == "The text does not say.") {
        ++unknown;
        continue;
      }
      ++known;
      const std::string name = name_in(answer);
      EXPECT_TRUE(names.insert(name).second) << name << " is asked for again";
      EXPECT_NE(question.find(name), std::string::npos) << question << answer;
      // One sentence of the passage has the name, and it has the last word of the answer too.
      const size_t at = passage.find(name), begin = passage.rfind('.', at) + 1;
      ASSERT_NE(at, std::string::npos);
      const std::string sentence = passage.substr(begin, passage.find('.', at) - begin);
      const size_t last = answer.rfind(' ') + 1;
      EXPECT_NE(sentence.find(answer.substr(last, answer.size() - last - 1)), std::string::npos)
          << sentence << answer;
    }
    EXPECT_GE(names.size(), 3u);
    EXPECT_EQ(static_cast<long>(names.size()), std::count(passage.begin(), passage.end(), '.'));
    for (const std::string& key : p.keys)
      EXPECT_EQ(split_of(key), i % 2 == 0 ? Split::kTrain : Split::kHeldOut) << key;
  }
  EXPECT_GT(unknown, known / 8);
}

TEST(World, AToolQuizCallsWhatItIsToldOfAndNothingElse) {
  RandomStream random(7, "world test");
  int calls = 0, refusals = 0;
  for (int i = 0; i < 500; ++i) {
    const Problem p = make_tool_quiz(Split::kTrain, random);
    std::set<std::string> told;
    for (const Json& tool : Json::parse(p.tools)) told.insert(tool["function"]["name"]);
    ASSERT_EQ(p.messages.size(), 7u);
    for (size_t m = 0; m < p.messages.size(); m += 2) {
      const bool last = m + 1 == p.messages.size();
      const auto& made = last ? p.calls : p.messages[m + 1].calls;
      if (made.empty()) {
        ++refusals;
        EXPECT_EQ(last ? p.answer : p.messages[m + 1].content, "I have no tool for that.");
        continue;
      }
      ++calls;
      EXPECT_TRUE(told.contains(made[0].name)) << made[0].name;
      const Json arguments = Json::parse(made[0].arguments);
      for (const auto& [key, value] : arguments.items()) {
        const std::string said = value.is_string() ? value.get<std::string>() : value.dump();
        EXPECT_NE(p.messages[m].content.find(said), std::string::npos)
            << said << " is not in: " << p.messages[m].content;
      }
    }
  }
  EXPECT_GT(calls, 800);
  EXPECT_GT(refusals, 800);
}

TEST(World, ContextComesBeforeAndChangesNothing) {
  RandomStream random(5, "world test");
  int with_system = 0, with_turns = 0;
  for (int i = 0; i < 2000; ++i) {
    const Problem p =
        make_problem(kSkills[random.next_below(std::size(kSkills))], Split::kHeldOut, random);
    const Problem q = with_context(p, Split::kHeldOut, random);
    ASSERT_GE(q.messages.size(), p.messages.size());
    EXPECT_EQ(q.answer, p.answer);
    EXPECT_EQ(q.messages.back().content, p.messages.back().content);
    with_system += q.messages[0].role == "system" && p.messages[0].role != "system";
    with_turns += q.messages.size() > p.messages.size() + 1;
    for (const std::string& key : q.keys) EXPECT_EQ(split_of(key), Split::kHeldOut) << key;
    for (size_t k = 1; k < q.messages.size(); ++k) EXPECT_NE(q.messages[k].role, "system");
  }
  EXPECT_GT(with_system, 100);
  EXPECT_GT(with_turns, 100);
}

TEST(World, OneKeyInEightIsHeldOut) {
  int held = 0;
  for (int i = 0; i < 80'000; ++i) held += split_of("key " + std::to_string(i)) == Split::kHeldOut;
  EXPECT_NEAR(held, 10'000, 500);
}

TEST(World, ASeedSaysEverything) {
  RandomStream a(7, "world test"), b(7, "world test"), c(8, "world test");
  std::string text_a, text_b, text_c;
  for (int i = 0; i < 200; ++i) {
    text_a += make_document(Split::kTrain, a);
    text_b += make_document(Split::kTrain, b);
    text_c += make_document(Split::kTrain, c);
  }
  EXPECT_EQ(text_a, text_b);
  EXPECT_NE(text_a, text_c);
  EXPECT_EQ(text_a.find_first_of("$|"), std::string::npos);  // templates are filled in
}

TEST(World, LinesAreWhatTheTrainersRead) {
  RandomStream random(2, "world test");
  for (const Skill skill : kSkills) {
    const Problem p = make_problem(skill, Split::kTrain, random);
    const Json chat = Json::parse(chat_line(p));
    ASSERT_EQ(chat["messages"].size(), p.messages.size() + 1);
    const Json& turn = chat["messages"].back();
    EXPECT_EQ(turn["role"], "assistant");
    EXPECT_EQ(turn.contains("tool_calls"), skill == Skill::kTool);
    EXPECT_EQ(chat.contains("tools"), !p.tools.empty());
    EXPECT_NE(Json::parse(pair_line(p))["chosen"], Json::parse(pair_line(p))["rejected"]);
    const Json eval = Json::parse(eval_line(p));
    EXPECT_TRUE(graded(eval["check"].dump(), eval["answer"].get<std::string>()).right);
    EXPECT_EQ(eval["skill"], skill_name(skill));
  }
}

TEST(WorldGrader, SaysWhatIsRightAndWhatIsValid) {
  const std::string number = R"({"kind":"number","value":"14"})";
  EXPECT_TRUE(graded(number, "12 + 2 = 14\nAnswer: 14.").right);
  EXPECT_FALSE(graded(number, "14").right);
  EXPECT_FALSE(graded(number, "Answer: 14\nAnswer: 15").right);
  EXPECT_FALSE(graded(number, "Answer: 14 or 15").right);
  const std::string word = R"({"kind":"word","value":"mill","not":["lake"]})";
  EXPECT_TRUE(graded(word, "By the mill.").right);
  EXPECT_FALSE(graded(word, "By the windmill.").right);
  EXPECT_FALSE(graded(word, "By the mill or the lake.").right);
  const std::string call = R"({"kind":"tool_call","name":"f","arguments":{"a":1,"b":"x"}})";
  const auto of = [&](const std::string& inner) {
    return graded(call, "<tool_call>" + inner + "</tool_call>");
  };
  EXPECT_TRUE(of(R"({"name":"f","arguments":{"b":"x","a":1}})").right);
  const Grade other = of(R"({"name":"f","arguments":{"b":"x","a":2}})");
  EXPECT_TRUE(other.valid && !other.right);
  for (const char* bad :
       {R"({"name":"g","arguments":{"b":"x","a":1}})", R"({"name":"f"})", "{", "",
        R"({"name":"f","arguments":{},"more":1})", R"({"name":"f","arguments":1})"})
    EXPECT_FALSE(of(bad).valid) << bad;
  EXPECT_FALSE(graded(call, R"({"name":"f","arguments":{"a":1,"b":"x"}})").valid);
  EXPECT_FALSE(grade("{}", "x").ok());
  EXPECT_FALSE(grade("[1", "x").ok());
  EXPECT_FALSE(grade(R"({"kind":"taste","value":"x"})", "x").ok());
}

}  // namespace
}  // namespace geist::train
