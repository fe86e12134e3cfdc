#include "train/preferences.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/shared_data.h"

namespace geist::train {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

Result<Preference> read(const char* record) { return to_preference(Json::parse(record)); }

// "role: content | ..." with * before a turn that is compared.
std::string shown(const Conversation& c) {
  std::string out;
  const Json messages = Json::parse(c.messages);
  for (size_t i = 0; i < messages.size(); ++i) {
    const Json& m = messages[i];
    const bool left_out = std::count(c.unlearned.begin(), c.unlearned.end(), i) > 0;
    out += (i > 0 ? " | " : "") + std::string(m["role"] == "assistant" && !left_out ? "*" : "") +
           m["role"].get<std::string>() + ": " + m["content"].get<std::string>();
  }
  return out;
}

TEST(Preferences, OfEveryFormAreOne) {
  for (
      const char* record : {
          R"({"prompt": "q", "chosen": "a", "rejected": "b"})",
          R"({"messages": [{"role": "user", "content": "q"}], "chosen": "a",
               "rejected": {"role": "assistant", "content": "b"}})",
          R"({"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
               "rejected": [{"role": "user", "content": "q"},
                            {"role": "assistant", "content": "b"}]})",
          R"({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"})",
          R"({"conversations": [{"from": "human", "value": "q"}],
               "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}})",
          R"({"instruction": "q", "input": "", "output": "x", "chosen": "a", "rejected": "b"})",
          R"({"input": {"messages": [{"role": "user", "content": "q"}]},
               "preferred_output": [{"role": "assistant", "content": "a"}],
               "non_preferred_output": [{"role": "assistant", "content": "b"}]})",
          R"({"prompt": "q", "ranked": ["a", "b"]})",
      }) {
    const auto preference = read(record);
    ASSERT_TRUE(preference.ok()) << record << preference.error().message;
    ASSERT_EQ(preference->answers.size(), 2u);
    EXPECT_EQ(shown(preference->answers[0]), "user: q | *assistant: a") << record;
    EXPECT_EQ(shown(preference->answers[1]), "user: q | *assistant: b") << record;
    EXPECT_FALSE(preference->label.has_value());
  }
}

TEST(Preferences, CompareTheLastTurnAlone) {
  const auto preference = read(
      R"({"chosen": "\n\nHuman: one\n\nAssistant: two\n\nlines\n\nHuman: three\n\nAssistant: four",
          "rejected": "\n\nHuman: one\n\nAssistant: two\n\nHuman: three\n\nAssistant: "})");
  ASSERT_TRUE(preference.ok());
  EXPECT_TRUE(preference->answers.empty());  // one says nothing: to be left out
  const auto other = read(
      R"({"prompt": "\n\nHuman: one\n\nAssistant: two\n\nlines\n\nHuman: three", "chosen": "four",
          "rejected": "five"})");
  ASSERT_TRUE(other.ok()) << other.error().message;
  EXPECT_EQ(shown(other->answers[0]),
            "user: one | assistant: two\n\nlines | user: three | *assistant: four");
}

TEST(Preferences, OfAnswersAloneHaveALabel) {
  const auto wanted = read(R"({"prompt": "q", "completion": "a", "label": true})");
  ASSERT_TRUE(wanted.ok());
  EXPECT_EQ(wanted->answers.size(), 1u);
  EXPECT_EQ(wanted->label, true);
  EXPECT_FALSE(read(R"({"prompt": "q", "completion": "a"})").ok());
}

TEST(Preferences, SayWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {R"([1])", "not a JSON object"},
      {R"({"prompt": "q"})", "compares nothing"},
      {R"({"prompt": "q", "chosen": "a"})", "'rejected' is missing"},
      {R"({"prompt": 3, "chosen": "a", "rejected": "b"})", "not a list of messages"},
      {R"({"prompt": "q", "chosen": 3, "rejected": "b"})", "neither a text nor"},
      {R"({"chosen": "a", "rejected": "b"})", "no 'prompt'"},
      {R"({"prompt": "q", "ranked": ["a"]})", "two answers or more"},
      {R"({"prompt": "q", "chosen": [{"role": "user", "content": "a"}], "rejected": "b"})",
       "assistant's turn"},
  };
  for (const auto& [record, message] : cases) {
    const auto preference = read(record);
    ASSERT_FALSE(preference.ok()) << record;
    EXPECT_THAT(preference.error().message, HasSubstr(message)) << record;
  }
  const auto status = read_preferences_from("{\"prompt\": \"q\"}\n", "p.jsonl",
                                            [](const auto&, const auto&) { return Status(); });
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message, HasSubstr("p.jsonl:1:"));
}

TEST(Preferences, RealSets) {
  const std::pair<const char*, int> sets[] = {{"hh_harmless.jsonl", 1843},
                                              {"dpo_1100.json", 1100},
                                              {"dpo_en_demo.json", 300},
                                              {"dpo_zh_demo.json", 200}};
  for (const auto& [name, least] : sets) {
    const auto path = testing::shared_path("data/preferences/" + std::string(name));
    if (!path) GTEST_SKIP() << "there is no shared/data/preferences";
    int count = 0, failed = 0;
    const auto sink = [&](const Preference& p, const std::string&) -> Status {
      ++count;
      failed += p.answers.size() != 2;
      return {};
    };
    const auto left_out = read_preferences(*path, sink);
    ASSERT_TRUE(left_out.ok()) << left_out.error().message;
    EXPECT_GE(count + *left_out, least) << name;
    EXPECT_LT(*left_out, 20) << name;
    EXPECT_EQ(failed, 0);
  }
}

}  // namespace
}  // namespace geist::train
