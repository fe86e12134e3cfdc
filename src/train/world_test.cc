#include "train/world.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "train/world_grader.h"

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
      const Problem p = make_problem(skill, i % 4 == 0 ? Split::kHeldOut : Split::kTrain, random);
      EXPECT_TRUE(graded(p.check, p.answer).right) << p.prompt << "\n" << p.answer;
      EXPECT_FALSE(graded(p.check, p.worse).right) << p.prompt << "\n" << p.worse;
      EXPECT_FALSE(graded(p.check, "").right);
      EXPECT_EQ(skill, p.skill);
      EXPECT_EQ(p.tools.empty(), skill != Skill::kTool && skill != Skill::kNoTool);
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
        (split == Split::kTrain ? train_prompts : held_prompts).insert(p.prompt + p.tools);
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
  EXPECT_EQ(text_a.find_first_of("${|}"), std::string::npos);  // templates are filled in
}

TEST(World, LinesAreWhatTheTrainersRead) {
  RandomStream random(2, "world test");
  for (const Skill skill : kSkills) {
    const Problem p = make_problem(skill, Split::kTrain, random);
    const Json chat = Json::parse(chat_line(p));
    ASSERT_EQ(chat["messages"].size(), 2u);
    const Json& turn = chat["messages"][1];
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
