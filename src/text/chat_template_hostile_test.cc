// Hostile templates end in an error, quickly and in bounded memory.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <string>

#include "text/chat_template.h"

namespace geist::text {
namespace {

Result<std::string> render(std::string_view source, const std::string& context = "{}",
                           const RenderLimits& limits = {}) {
  auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) return parsed.error();
  return parsed->render(context, 0, limits);
}

std::string error_of(std::string_view source, const std::string& context = "{}",
                     const RenderLimits& limits = {}) {
  const auto out = render(source, context, limits);
  return out.ok() ? "no error: " + *out : out.error().message;
}

std::string text_of(std::string_view source) {
  const auto out = render(source);
  return out.ok() ? *out : "error: " + out.error().message;
}

class HostileTemplateTest : public ::testing::Test {
 protected:
  static int64_t peak_rss_kb() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
  }
  // The rendering must fail with `expected` in its message.
  void expect_stopped(const std::string& source, std::string_view expected,
                      const std::string& context = "{}") {
    const auto start = std::chrono::steady_clock::now();
    const std::string message = error_of(source, context);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    EXPECT_NE(message.find(expected), std::string::npos) << source.substr(0, 200) << "\n"
                                                         << message.substr(0, 300);
    EXPECT_LT(seconds, kSecondsMax) << source.substr(0, 200);
    EXPECT_LT(peak_rss_kb(), kPeakKbMax) << source.substr(0, 200);
  }
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  static constexpr double kSecondsMax = 60;
  static constexpr int64_t kPeakKbMax = 2'000'000;
#else
  static constexpr double kSecondsMax =
      4;  // on a machine that is busy with other tests; alone each takes under 1
  static constexpr int64_t kPeakKbMax = 300'000;
#endif
};

std::string repeated(std::string_view piece, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += piece;
  return out;
}

TEST_F(HostileTemplateTest, Nesting) {
  expect_stopped("{{ " + repeated("(", 100'000) + "1" + repeated(")", 100'000) + " }}",
                 "nests too deeply");
  expect_stopped("{{ " + repeated("[", 100'000) + repeated("]", 100'000) + " }}",
                 "nests too deeply");
  expect_stopped("{{ " + repeated("not ", 100'000) + "x }}", "nests too deeply");
  expect_stopped("{{ " + repeated("-", 100'000) + "1 }}", "nests too deeply");
  expect_stopped(repeated("{% if 1 %}", 100'000) + repeated("{% endif %}", 100'000),
                 "nests too deeply");
  expect_stopped("{{ x" + repeated("[0]", 100'000) + " }}", "levels");
  expect_stopped("{{ 1" + repeated("|abs", 100'000) + " }}", "levels");
  expect_stopped("{{ 1" + repeated(" if 1 else 1", 100'000) + " }}", "nests too deeply");
  expect_stopped("{% set " + repeated("(", 100'000) + "a" + repeated(")", 100'000) + " = 1 %}",
                 "nests too deeply");
  expect_stopped("x", "levels", "{\"a\": " + repeated("[", 100'000) + repeated("]", 100'000) + "}");
}

TEST_F(HostileTemplateTest, LongChainsAreFine) {
  EXPECT_EQ(text_of("{{ 0" + repeated(" + 1", 20'000) + " }}"), "20000");
  EXPECT_EQ(text_of("{{ 1" + repeated(" and 1", 20'000) + " }}"), "1");
  EXPECT_EQ(text_of("{% if 0 %}" + repeated("{% elif 0 %}", 20'000) + "{% else %}x{% endif %}"),
            "x");
}

TEST_F(HostileTemplateTest, Recursion) {
  expect_stopped("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "levels");
  expect_stopped("{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}", "levels");
  expect_stopped("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "levels");
  expect_stopped("{% set l = [] %}{% do l.append(l) %}{{ l }}", "levels");
  expect_stopped("{% set l = [] %}{% do l.append(l) %}{{ l | tojson }}", "levels");
  expect_stopped(
      "{% set l = [] %}{% do l.append(l) %}{% set m = [] %}{% do m.append(m) %}{{ l == m }}",
      "levels");
  expect_stopped(
      "{% set ns = namespace(t=()) %}{% for i in range(1000) %}{% set ns.t = (ns.t,) %}{% endfor "
      "%}{{ {ns.t: 1} }}",
      "levels");
}

TEST_F(HostileTemplateTest, Sizes) {
  expect_stopped("{{ 'a' * 10**9 }}", "too long");
  expect_stopped("{{ 'aaaaaaaa' * 9223372036854775807 }}", "too long");
  expect_stopped("{{ [0] * 10**9 }}", "too long");
  expect_stopped("{{ range(10**12) }}", "range()");
  expect_stopped("{{ range(-9223372036854775807, 9223372036854775807) }}", "range()");
  expect_stopped("{{ '%1000000000d' % 1 }}", "padding");
  expect_stopped("{{ '%*d' % (999999999, 1) }}", "padding");
  expect_stopped("{{ '{:>1000000000}'.format('x') }}", "padding");
  expect_stopped("{{ '{:é>900000000}'.format('x') }}", "MB of text");
  expect_stopped("{{ 'x' | indent(1000000000) }}", "padding");
  expect_stopped("{{ 'x'.ljust(1000000000) }}{{ 'x' | center(1000000000) }}", "padding");
  expect_stopped("{{ 'x'.zfill(1000000000) }}", "padding");
  expect_stopped("{{ [1] | tojson(indent=1000000000) }}", "padding");
  expect_stopped("{{ [1] | batch(1000000000, 0) | list }}", "");
  expect_stopped("{{ [1] | slice(1000000000) | list }}", "");
  expect_stopped("{{ 10 ** 10 ** 10 }}", "64 bits");
}

TEST_F(HostileTemplateTest, Growth) {
  expect_stopped(
      "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% "
      "endfor %}",
      "memory");
  expect_stopped(
      "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s.replace('x', "
      "'xx') %}{% endfor %}",
      "");
  expect_stopped(
      "{% set ns = namespace(l=[1]) %}{% for i in range(64) %}{% set ns.l = ns.l + ns.l %}{% "
      "endfor %}",
      "memory");
  expect_stopped("{% set l = [1] %}{% for i in range(100000) %}{% do l.extend(l) %}{% endfor %}",
                 "");
  expect_stopped(
      "{% set ns = namespace(l=[1]) %}{% for i in range(64) %}{% set ns.l = [ns.l, ns.l] %}{% "
      "endfor %}{{ ns.l | string }}",
      "");
  expect_stopped(
      "{% set ns = namespace(l=[1]) %}{% for i in range(64) %}{% set ns.l = [ns.l, ns.l] %}{% "
      "endfor %}{{ ns.l | tojson }}",
      "");
  expect_stopped(
      "{% set ns = namespace(l=[1]) %}{% for i in range(64) %}{% set ns.l = [ns.l, ns.l] %}{% "
      "endfor %}{{ ns.l == ns.l[:] + [] }}{{ ns.l < [ns.l[0], 2] }}",
      "");
  expect_stopped(repeated("{% for i in range(100000) %}", 5) + "x" + repeated("{% endfor %}", 5),
                 "steps");
  expect_stopped(
      "{% set l = [1] %}{% for x in range(100000) %}{% for y in range(100000) %}{% set _ = [x, y] "
      "%}{% endfor %}{% endfor %}",
      "");
  expect_stopped("{% for x in range(100000) %}{% for y in range(100000) %}" +
                     std::string(200, 'x') + "{% endfor %}{% endfor %}",
                 "MB of text");
  expect_stopped(
      "{% for x in range(100000) %}{% for y in range(100000) %}{% macro m() %}{% endmacro %}{% "
      "endfor %}{% endfor %}",
      "");
  expect_stopped(
      "{% set s = 'ab' * 4000000 %}{% for x in range(100000) %}{% set _ = s.find('ba' * 1000 + "
      "'c') %}{% endfor %}",
      "");
  expect_stopped(
      "{% set s = 'ab' * 4000000 %}{% for x in range(100000) %}{% set _ = s.rfind('zz') %}{{ s | "
      "length }}{% endfor %}",
      "steps");
  expect_stopped(
      "{% set s = 'a' * 4000000 %}{% for x in range(100000) %}{{ s[x * 10] }}{{ s.endswith(s) }}{{ "
      "s == s ~ '' }}{% endfor %}",
      "");
}

TEST_F(HostileTemplateTest, BuildingAStringPieceByPieceIsLinear) {
  const auto out = render(
      "{% set ns = namespace(s='') %}{% for i in range(100000) %}{% set ns.s = ns.s ~ 'xyz' %}{% "
      "endfor %}{{ ns.s | length }}");
  ASSERT_TRUE(out.ok()) << out.error().message;
  EXPECT_EQ(*out, "300000");
}

TEST_F(HostileTemplateTest, LimitsAreTheCallers) {
  RenderLimits limits;
  limits.output_bytes_max = 10;
  EXPECT_EQ(error_of("{{ 'x' * 11 }}", "{}", limits),
            "line 1: the template builds more than 0 MB of text");
  limits = {};
  limits.steps_max = 100;
  EXPECT_EQ(error_of("{% for i in range(1000) %}{{ i }}{% endfor %}", "{}", limits),
            "line 1: the template takes more than 100 steps");
}

TEST_F(HostileTemplateTest, SplittingFromTheRightIsLinear) {
  EXPECT_EQ(text_of("{{ ('ab,' * 100000).rsplit(',') | length }}"), "100001");
  EXPECT_EQ(text_of("{{ ('ab ' * 100000).rsplit() | length }}"), "100000");
  EXPECT_EQ(text_of("{{ ('a' * 100000).replace('a', 'bc') | length }}"), "200000");
}

// A long conversation is what the limits must leave alone.
TEST_F(HostileTemplateTest, LongConversationsRender) {
  std::string context = "{\"messages\": [";
  for (int i = 0; i < 2000; ++i) {
    context += i == 0 ? "" : ", ";
    context += "{\"role\": \"user\", \"content\": \"" + repeated("some words ", 400) + "\"}";
  }
  const auto out = render(
      "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] | trim + '\n' }}{% endfor "
      "%}",
      context + "]}");
  ASSERT_TRUE(out.ok()) << out.error().message;
  EXPECT_GT(out->size(), 8'000'000u);
}

}  // namespace
}  // namespace geist::text
