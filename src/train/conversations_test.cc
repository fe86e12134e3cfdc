#include "train/conversations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/shared_data.h"

namespace geist::train {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Read {
  std::vector<Conversation> all;
  std::vector<std::string> places;
  std::string error;
};

Read read(std::string_view bytes, ConversationFormat format = ConversationFormat::kDetect) {
  Read out;
  const Status status =
      read_conversations_from(bytes, "f", format, [&](const Conversation& c, const std::string& p) {
        out.all.push_back(c);
        out.places.push_back(p);
        return Status();
      });
  if (!status.ok()) out.error = status.error().message;
  return out;
}

// Of a record, written as a list of one: it may go over lines.
Conversation one(const std::string& record) {
  Read r = read("[" + record + "]");
  EXPECT_EQ(r.error, "") << record;
  return r.all.empty() ? Conversation() : r.all[0];
}
Json messages(const std::string& record) { return Json::parse(one(record).messages); }
std::string error_of(const std::string& record) { return read("[" + record + "]").error; }
Json parse(const char* text) { return Json::parse(text); }

TEST(Conversations, TheThreeFormsAreOne) {
  const Json wanted = parse(R"([{"role": "system", "content": "S"},
      {"role": "user", "content": "Q\nI"}, {"role": "assistant", "content": "A"}])");
  EXPECT_EQ(messages(R"({"messages": [{"role": "developer", "content": "S"},
      {"role": "user", "content": [{"type": "text", "text": "Q\n"}, {"type": "text", "text": "I"}]},
      {"role": "assistant", "content": "A"}]})"),
            wanted);
  EXPECT_EQ(messages(R"({"instruction": "Q", "input": "I", "output": "A", "system": "S"})"),
            wanted);
  EXPECT_EQ(messages(R"({"system": "S", "conversations": [{"from": "human", "value": "Q\nI"},
      {"from": "gpt", "value": "A"}]})"),
            wanted);
  EXPECT_EQ(messages(R"({"conversations": [{"role": "system", "content": "S"},
      {"role": "user", "content": "Q\nI"}, {"role": "assistant", "content": "A"}]})"),
            wanted);
}

TEST(Conversations, AlpacaHasHistoryAndOtherNames) {
  EXPECT_EQ(messages(R"({"instruction": "Q", "response": "A", "history": [["q", "a"]]})"),
            parse(R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"},
                      {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}])"));
}

TEST(Conversations, CallsAndResultsNameEachOther) {
  const Json wanted = parse(R"([{"role": "user", "content": "Q"},
      {"role": "assistant", "content": "", "tool_calls": [
        {"id": "call00000", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}},
        {"id": "call00001", "type": "function", "function": {"name": "g", "arguments": {}}}]},
      {"role": "tool", "content": "F", "tool_call_id": "call00000", "name": "f"},
      {"role": "tool", "content": "G", "tool_call_id": "call00001", "name": "g"}])");
  EXPECT_EQ(messages(R"({"conversations": [{"from": "human", "value": "Q"},
      {"from": "function_call", "value":
        "[{\"name\": \"f\", \"arguments\": {\"x\": 1}}, {\"name\": \"g\", \"arguments\": {}}]"},
      {"from": "observation", "value": "F"}, {"from": "observation", "value": "G"}]})"),
            wanted);
  EXPECT_EQ(messages(R"({"messages": [{"role": "user", "content": "Q"},
      {"role": "assistant", "content": null, "tool_calls": [
        {"function": {"name": "f", "arguments": "{\"x\": 1}"}}, {"function": {"name": "g"}}]},
      {"role": "tool", "content": "F"}, {"role": "function", "content": "G"}]})"),
            wanted);
  const Json own = messages(R"({"messages": [{"role": "assistant", "tool_calls": [
        {"id": "a", "function": {"name": "f"}}, {"id": "b", "function": {"name": "g"}}]},
      {"role": "tool", "tool_call_id": "b", "content": "G"}]})");
  EXPECT_EQ(own[1]["name"], "g");
}

TEST(Conversations, ToolsAreAListOfFunctions) {
  const Json wanted = parse(R"([{"type": "function", "function": {"name": "f"}}])");
  const std::string chat = R"("messages": [{"role": "assistant", "content": "A"}])";
  EXPECT_EQ(Json::parse(one("{" + chat + R"(, "tools": [{"name": "f"}]})").tools), wanted);
  EXPECT_EQ(Json::parse(one("{" + chat + R"(, "tools": "[{\"name\": \"f\"}]"})").tools), wanted);
  EXPECT_EQ(one("{" + chat + R"(, "tools": ""})").tools, "");
  EXPECT_EQ(one("{" + chat + R"(, "tools": []})").tools, "");
}

TEST(Conversations, WeightsSayWhatIsNotLearned) {
  const Conversation c = one(R"({"messages": [{"role": "assistant", "content": "A", "weight": 0},
      {"role": "assistant", "content": "B", "weight": 1}]})");
  EXPECT_THAT(c.unlearned, ElementsAre(0));
  EXPECT_EQ(c.messages.find("weight"), std::string::npos);
}

TEST(Conversations, TheHashIsOfWhatIsSaid) {
  const std::string a = R"({"instruction": "Q", "output": "A"})";
  EXPECT_EQ(one(a).hash(), one(R"({"output": "A", "input": "", "instruction": "Q"})").hash());
  EXPECT_EQ(one(a).hash(), one(R"({"messages": [{"role": "user", "content": "Q"},
                                   {"role": "assistant", "content": "A"}]})")
                               .hash());
  EXPECT_NE(one(a).hash(), one(R"({"instruction": "Q", "output": "B"})").hash());
}

TEST(Conversations, PlacesAreLinesOrIndices) {
  const std::string line = R"({"instruction": "Q", "output": "A"})";
  EXPECT_THAT(read(line + "\n\n" + line + "\r\n").places, ElementsAre("f:1", "f:3"));
  EXPECT_THAT(read("\n[" + line + ",\n" + line + "]").places, ElementsAre("f[0]", "f[1]"));
  EXPECT_THAT(read("").places, ElementsAre());
}

TEST(Conversations, FaultsSayWhereAndWhat) {
  EXPECT_THAT(read("{\"instruction\": \"Q\", \"output\": \"A\"}\n{\"instruction\"\n").error,
              HasSubstr("f:2: this is not valid JSON"));
  EXPECT_THAT(read("[{},\n{},\n{]").error, HasSubstr("f:3: this is not valid JSON"));
  EXPECT_THAT(read("[" + std::string(100, '[')).error, HasSubstr("nested too deeply"));
  const std::pair<const char*, const char*> faults[] = {
      {"7", "f[0]: this record is not a JSON object"},
      {R"({"text": "x"})", "neither 'messages' (OpenAI) nor 'conversations'"},
      {R"({"messages": []})", "f[0]: there are no messages"},
      {R"({"messages": {}})", "'messages' is not a list"},
      {R"({"messages": [{"role": "user", "content": "x"}, 3]})", "message 1 is not an object"},
      {R"({"messages": [{"content": "x"}]})", "message 0 'role' is missing"},
      {R"({"messages": [{"role": "cat", "content": "x"}]})", "message 0 has the role 'cat'"},
      {R"({"messages": [{"role": "user", "content": 5}]})", "neither a text nor a list"},
      {R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})", "only text"},
      {R"({"messages": [{"role": "assistant", "content": ""}]})", "says nothing"},
      {R"({"messages": [{"role": "tool", "content": "x"}]})", "without a call"},
      {R"({"messages": [{"role": "assistant", "content": "x", "weight": 0.5}]})", "'weight'"},
      {R"({"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]})",
       "without a 'name'"},
      {R"({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f",
           "arguments": "{"}}]}]})",
       "are not JSON"},
      {R"({"messages": [{"role": "user", "content": "x"}], "tools": [{}]})", "a tool without"},
      {R"({"conversations": [{"from": "cat", "value": "x"}]})", "message 0 is from 'cat'"},
      {R"({"conversations": [{"from": "human"}]})", "message 0 'value' is missing"},
      {R"({"conversations": [{"from": "function_call", "value": "x"}]})", "value is not JSON"},
      {R"({"instruction": "Q"})", "'output' is missing"},
      {R"({"instruction": "Q", "output": 1})", "'output' is not a text"},
      {R"({"instruction": "", "output": "A"})", "'instruction' is empty"},
      {R"({"instruction": "Q", "output": "A", "history": [1]})", "not a list of pairs"},
  };
  for (const auto& [record, message] : faults)
    EXPECT_THAT(error_of(record), HasSubstr(message)) << record;
  EXPECT_THAT(read(R"({"instruction": "Q", "output": "A"})", ConversationFormat::kOpenAi).error,
              HasSubstr("f:1: 'messages' is missing"));
}

TEST(Conversations, RealSets) {
  const auto folder = testing::shared_path("data/sft");
  if (!folder) GTEST_SKIP() << "no shared data";
  const std::pair<const char*, size_t> sets[] = {
      {"alpaca_en_demo.json", 999},    {"alpaca_zh_demo.json", 1000},
      {"codegen-instruct.json", 4535}, {"glaive_toolcall_en_demo.json", 300},
      {"identity.json", 91},           {"instruction_1100.json", 1100}};
  for (const auto& [name, wanted] : sets) {
    size_t count = 0;
    const Status status = read_conversations(
        *folder + "/" + name, ConversationFormat::kDetect,
        [&](const Conversation&, const std::string&) { return ++count, Status(); });
    EXPECT_TRUE(status.ok()) << status.error().message;
    EXPECT_EQ(count, wanted) << name;
  }
}

}  // namespace
}  // namespace geist::train
