#include "train/documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace geist::train {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> read(std::string_view bytes, const std::string& name,
                              std::string* error = nullptr, DocumentOptions options = {}) {
  std::vector<std::string> documents;
  uint64_t last = 0;
  const Status status =
      read_documents_from(bytes, name, options, [&](std::string_view d, uint64_t at) {
        EXPECT_GT(at, last);
        last = at;
        documents.emplace_back(d);
        return Status();
      });
  EXPECT_LE(last, bytes.size());
  EXPECT_EQ(status.ok(), error == nullptr);
  if (error != nullptr && !status.ok()) *error = status.error().message;
  return documents;
}

TEST(Documents, TextIsCutAtSeparatorLines) {
  EXPECT_THAT(
      read("one\ntwo\n<|endoftext|>\nthree <|endoftext|>\n<|endoftext|>\n \n<|endoftext|>\r\nfour",
           "a.txt"),
      ElementsAre("one\ntwo\n", "three <|endoftext|>\n", "four"));
  EXPECT_THAT(read("a\n---\nb\n", "a.txt", nullptr, {.separator = "---"}),
              ElementsAre("a\n", "b\n"));
  EXPECT_THAT(read("a\n\nb", "a.txt", nullptr, {.separator = ""}), ElementsAre("a\n\nb"));
  EXPECT_TRUE(read("", "a.txt").empty());
  EXPECT_TRUE(read("<|endoftext|>", "a.txt").empty());
}

TEST(Documents, JsonLinesGiveAFieldOrMessages) {
  EXPECT_THAT(read("{\"text\":\"a\\nb\"}\r\n\n{\"text\":\" \"}\n{\"text\":\"c\"}", "a.jsonl"),
              ElementsAre("a\nb", "c"));
  EXPECT_THAT(read(R"({"m":[{"content":"hi"},{"content":null,"tool_calls":[]},{"content":"ho"}]})",
                   "a.jsonl", nullptr, {.field = "m"}),
              ElementsAre("hi\nho"));
}

TEST(Documents, BadLinesAreNamed) {
  std::string error;
  EXPECT_THAT(read("{\"text\":\"a\"}\n{\"text\":", "d/a.jsonl", &error), ElementsAre("a"));
  EXPECT_EQ(error, "d/a.jsonl:2: this line is not valid JSON");
  read("{\"body\":\"a\"}", "a.jsonl", &error);
  EXPECT_THAT(error, HasSubstr("a.jsonl:1: there is no text in the field 'text'"));
  read("[1]", "a.jsonl", &error);
  EXPECT_THAT(error, HasSubstr("no text in the field"));
  read(std::string(100'000, '['), "a.jsonl", &error);
  EXPECT_THAT(error, HasSubstr("nested too deeply"));
}

}  // namespace
}  // namespace geist::train
