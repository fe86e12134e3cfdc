#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <sstream>
#include <thread>
#include <vector>

#include "base/hash.h"
#include "tests/support/shared_data.h"
#include "text/chat_context.h"

namespace geist::text {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr int64_t kTime = 1721995200;  // 2024-07-26 12:00:00 UTC

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

Result<std::string> render(std::string_view source, const std::string& context = "{}",
                           const RenderLimits& limits = {}) {
  auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) return parsed.error();
  return parsed->render(context, kTime, limits);
}

std::string text_of(std::string_view source, const std::string& context = "{}") {
  const auto out = render(source, context);
  return out.ok() ? *out : "error: " + out.error().message;
}

std::string error_of(std::string_view source, const std::string& context = "{}",
                     const RenderLimits& limits = {}) {
  const auto out = render(source, context, limits);
  return out.ok() ? "no error: " + *out : out.error().message;
}

// Our own snippets and conversations, with what Jinja2 itself makes of them.
TEST(ChatTemplateTest, EqualsJinja) {
  const Json file =
      Json::parse(read(fs::path(GEIST_SOURCE_DIR) / "tests/data/chat_template/cases.json"));
  const std::string context = file["context"].dump();
  for (const Json& one : file["cases"]) {
    const std::string source = one["template"],
                      given = one.contains("context") ? one["context"].dump() : context;
    EXPECT_EQ(text_of(source, given), one["expected"].get<std::string>()) << source;
  }
  EXPECT_GE(file["cases"].size(), 60u);
}

TEST(ChatTemplateTest, SharedJinjaCases) {
  const auto path = testing::shared_path("data/templates/jinja_cases.json");
  if (!path) GTEST_SKIP() << "no shared data";
  const Json cases = Json::parse(read(*path));
  for (const Json& one : cases) {
    EXPECT_EQ(text_of(one["template"].get<std::string>(), one["context"].dump()),
              one["expected"].get<std::string>())
        << one["name"];
  }
  EXPECT_EQ(cases.size(), 198u);
}

// Real models' templates as llama.cpp renders them, which folds a system message that a template
// does not know into the first user message.
TEST(ChatTemplateTest, SharedConversations) {
  const auto path = testing::shared_path("data/templates/chat_template_cases.json");
  if (!path) GTEST_SKIP() << "no shared data";
  const Json file = Json::parse(read(*path));
  int compared = 0;
  for (const Json& one : file["cases"]) {
    if (one.value("supported_with_jinja", true) == false) continue;
    Json messages = file["conversation"];
    if (one.contains("extra_conversation")) {
      for (const Json& message : one["extra_conversation"]) messages.push_back(message);
    }
    const Json context = {{"messages", messages},
                          {"add_generation_prompt", file["add_generation_prompt"]},
                          {"bos_token", one.value("bos_token", "")},
                          {"eos_token", one.value("eos_token", "")}};
    auto parsed = ChatTemplate::parse(one["template_str"].get<std::string>());
    ASSERT_TRUE(parsed.ok()) << one["name"] << parsed.error().message;
    const auto folded = fold_system_message(*parsed, context.dump());
    ASSERT_TRUE(folded.ok());
    const auto out = parsed->render(*folded, kTime);
    ASSERT_TRUE(out.ok()) << one["name"] << out.error().message;
    const std::string jinja = one.value("expected_output_jinja", "");
    EXPECT_EQ(*out, jinja.empty() ? one["expected_output"].get<std::string>() : jinja)
        << one["name"];
    ++compared;
  }
  EXPECT_EQ(compared, 27);
}

std::string digest(const std::string& text) {
  return to_hex(sha256(std::as_bytes(std::span(text))));
}

// Eight conversations through every model's template, against the digests of what Jinja2 itself
// makes of them (tests/oracle/render_templates.py), refusals included.
TEST(ChatTemplateTest, EveryModelsTemplateEqualsJinja) {
  const auto folder = testing::shared_path("data/templates");
  if (!folder) GTEST_SKIP() << "no shared data";
  const Json recorded =
      Json::parse(read(fs::path(GEIST_SOURCE_DIR) / "tests/data/chat_template/templates.json"));
  ASSERT_EQ(recorded["time"], kTime);
  int rendered = 0;
  for (const auto& [name, digests] : recorded["templates"].items()) {
    const auto parsed = ChatTemplate::parse(read(fs::path(*folder) / name));
    ASSERT_TRUE(parsed.ok()) << name << ": " << parsed.error().message;
    for (size_t form = 0; form < recorded["contexts"].size(); ++form) {
      const auto out = parsed->render(recorded["contexts"][form].dump(), kTime);
      const Json result = out.ok() ? Json(digest(*out)) : Json(nullptr);
      EXPECT_EQ(result, digests[form]) << name << ", conversation " << form << "\n"
                                       << (out.ok() ? *out : out.error().message);
      rendered += out.ok();
    }
  }
  EXPECT_EQ(recorded["templates"].size(), 108u);
  EXPECT_EQ(rendered, 666);
}

TEST(ChatTemplateTest, ErrorsNameThePlace) {
  EXPECT_EQ(error_of("a\n  {% if %}"), "line 2, column 9: expected an expression, got '%}'");
  EXPECT_EQ(error_of("{{ x"), "line 1, column 1: the expression has no end '}}'");
  EXPECT_EQ(error_of("{% for x in y %}"), "line 1, column 17: expected '{% endfor %}'");
  EXPECT_EQ(error_of("{% include 'x' %}"), "line 1, column 4: unknown tag, got 'include'");
  EXPECT_EQ(error_of("{# x"), "line 1, column 1: the comment has no end '#}'");
  EXPECT_EQ(error_of("{{ 'x }}"), "line 1, column 4: the string has no end");
  EXPECT_EQ(error_of("{{ (1] }}"), "line 1, column 6: unbalanced bracket");
  EXPECT_EQ(error_of("{% break %}"), "line 1, column 4: not inside a loop, got 'break'");
  EXPECT_EQ(error_of("\n{{ a.b }}"), "line 2: 'a' is undefined");
  EXPECT_EQ(error_of("{{ f() }}"), "line 1: 'f' is undefined");
  EXPECT_EQ(error_of("{{ 1 | nope }}"), "line 1: there is no filter 'nope'");
  EXPECT_EQ(error_of("{{ 1 is nope }}"), "line 1: there is no test 'nope'");
  EXPECT_EQ(error_of("{{ [1, 2] | random }}"), "line 1: there is no filter 'random'");
  EXPECT_EQ(error_of("{{ 1 + 'a' }}"), "line 1: unsupported operand types for +: 'int' and 'str'");
  EXPECT_EQ(error_of("{{ x | tojson }}"),
            "line 1: Object of type Undefined is not JSON serializable");
  EXPECT_EQ(error_of("\n\n{{ raise_exception('Roles must alternate') }}"),
            "line 3: Roles must alternate");
  EXPECT_EQ(error_of("x", "[1]"), "the context is not a JSON object");
  EXPECT_EQ(error_of("x", "{\"a\": 1,}"),
            "the context is not JSON: expected a key in quotes at byte 8");
  EXPECT_EQ(error_of("{{ 9223372036854775807 + 1 }}"), "line 1: an integer grows beyond 64 bits");
  EXPECT_EQ(error_of("{{ 1 // 0 }}"), "line 1: division by zero");
  EXPECT_EQ(error_of("{{ {[1]: 2} }}"), "line 1: unhashable type: 'list'");
}

// Nothing of the host can be reached: dunder names are ordinary, absent keys.
TEST(ChatTemplateTest, HasNoWayOut) {
  EXPECT_EQ(text_of("{{ ''.__class__ }}{{ ''['__class__'] }}{{ [].__init__ }}{{ {}.__dict__ }}"),
            "");
  EXPECT_EQ(error_of("{{ ''.__class__.__mro__ }}"), "line 1: '__class__' is undefined");
  EXPECT_EQ(error_of("{{ '{0.__class__}'.format(1) }}"),
            "line 1: format(): no argument for '{0.__class__}'");
  EXPECT_EQ(text_of("{{ self is defined }}{{ config is defined }}{{ lipsum is defined }}{{ cycler "
                    "is defined }}"),
            "FalseFalseFalseTrue");
}

TEST(ChatTemplateTest, ContextsKeepTheirValues) {
  EXPECT_EQ(
      text_of(
          "{{ x | tojson }}",
          R"({"x": {"b": 18446744073709551616, "a": [1.0, 1e2, -0.5], "b2": "\u00e9\ud83d\ude00\n"}})"),
      "{\"b\": 18446744073709551616, \"a\": [1.0, 100.0, -0.5], \"b2\": \"é😀\\n\"}");
  EXPECT_EQ(
      text_of("{{ x }}{{ x is integer }}{{ x == y }}",
              R"({"x": 123456789012345678901234567890, "y": 123456789012345678901234567890})"),
      "123456789012345678901234567890TrueTrue");
  EXPECT_EQ(text_of("{{ a }}", R"({"a": 1, "b": 2, "a": 3})"), "3")
      << "the last of equal keys wins";
  EXPECT_EQ(text_of("{{ range }}{{ loop }}", R"({"range": "r", "loop": "l"})"), "rl")
      << "the context comes before globals";
}

TEST(ChatTemplateTest, TimesAreTheCallers) {
  const auto parsed =
      ChatTemplate::parse("{{ strftime_now('%Y-%m-%d %H:%M:%S %a %j %G-W%V %U %W') }}");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*parsed->render("{}", 0), "1970-01-01 00:00:00 Thu 001 1970-W01 00 00");
  EXPECT_EQ(*parsed->render("{}", 951782400), "2000-02-29 00:00:00 Tue 060 2000-W09 09 09");
  EXPECT_EQ(*parsed->render("{}", 1609459199), "2020-12-31 23:59:59 Thu 366 2020-W53 52 52");
  EXPECT_EQ(*parsed->render("{}", 1609459200), "2021-01-01 00:00:00 Fri 001 2020-W53 00 00");
  EXPECT_EQ(*parsed->render("{}", -1), "1969-12-31 23:59:59 Wed 365 1970-W01 52 52");
}

TEST(ChatTemplateTest, RendersFromManyThreadsAlike) {
  const auto parsed = ChatTemplate::parse(
      "{% set ns = namespace(n=0) %}{% for i in range(100) %}{% set ns.n = ns.n + i %}{% endfor "
      "%}{{ ns.n }}");
  ASSERT_TRUE(parsed.ok());
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 20; ++round)
        EXPECT_EQ(*parsed->render("{}", i), "4950") << "a rendering leaves nothing behind";
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(ChatTemplateTest, FoldsSystemMessagesOnlyWhereNeeded) {
  const std::string context =
      R"({"messages":[{"role":"system","content":"S"},{"role":"user","content":"U"}]})";
  const auto refuses = ChatTemplate::parse(
      "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}[{{ "
      "m.content }}]{% endfor %}");
  EXPECT_EQ(*refuses->render(*fold_system_message(*refuses, context), 0), "[S\nU]");
  const auto knows = ChatTemplate::parse("{% for m in messages %}[{{ m.content }}]{% endfor %}");
  EXPECT_EQ(*fold_system_message(*knows, context), context);
  EXPECT_FALSE(fold_system_message(*knows, "not JSON").ok());
}

}  // namespace
}  // namespace geist::text
