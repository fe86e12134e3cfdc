// The registry, and what all commands have in common: help, version, and one-line errors for words
// that are off.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <new>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"

namespace geist::cli {

#define GEIST_COMMAND(name) Command name##_command();
#include "cli/commands.def"
#undef GEIST_COMMAND

std::span<const Command> commands() {
  static const std::array kCommands = {
#define GEIST_COMMAND(name) name##_command(),
#include "cli/commands.def"
#undef GEIST_COMMAND
  };
  return kCommands;
}

std::string example_lines(std::string_view examples) {
  std::string out = "Examples:\n  ";
  for (const char c : examples) {
    out += c;
    if (c == '\n') out += "  ";
  }
  return out;
}

namespace {

constexpr const char* kIntroduction =
    "Geist runs language models from GGUF files on the CPU, exactly.\n"
    "MODEL is a file or a name in the model store ($GEIST_HOME, by default ~/.geist/models).";

// "geist help" and "geist help NAME" are "geist --help" and "geist NAME --help"; a NAME may be of
// two words.
std::vector<std::string> words_of(int argc, const char* const* argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && words[0] == "help") {
    words.erase(words.begin());
    words.resize(std::min<size_t>(words.size(), 2));
    words.push_back("--help");
  }
  return words;
}

bool is_command(std::string_view word) {
  const auto all = commands();
  return std::any_of(all.begin(), all.end(), [&](const Command& c) { return c.name == word; });
}

// CLI11 prints several lines for a usage error; we say one, and where to read more.
int usage_error(const CLI::App& program, const CLI::ParseError& error) {
  std::string where;
  for (auto chosen = program.get_subcommands(); !chosen.empty();
       chosen = chosen[0]->get_subcommands())
    where += " " + chosen[0]->get_name();
  return usage("%s (see 'geist%s --help')", error.what(), where.c_str());
}

}  // namespace

int run_program(int argc, const char* const* argv) {
  install_interrupt_handler();
  CLI::App program(kIntroduction, "geist");
  program.set_version_flag("--version", "geist " GEIST_VERSION);
  program.require_subcommand(0, 1);
  // Of an option given twice the last counts, so that words can be put behind an alias's.
  program.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  program.footer("Each command explains itself: geist COMMAND --help");
  std::vector<std::pair<CLI::App*, std::function<int()>>> configured;
  for (const Command& command : commands()) {
    CLI::App* app = program.add_subcommand(std::string(command.name), std::string(command.summary));
    app->footer(example_lines(command.examples));
    configured.emplace_back(app, command.configure(*app));
  }
  try {
    auto words = words_of(argc, argv);
    if (!words.empty() && !words[0].starts_with('-') && !is_command(words[0]))
      return usage("there is no command '%s' (see 'geist --help')", words[0].c_str());
    std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
    program.parse(words);
  } catch (const CLI::Success& success) {  // --help, --version
    return finish_output(program.exit(success));
  } catch (const CLI::ParseError& error) {
    return usage_error(program, error);
  }
  for (const auto& [app, work] : configured) {
    if (!app->parsed()) continue;
    try {
      return finish_output(work());
    } catch (const std::bad_alloc&) {
      return fail(errorf("not enough memory for this; give less at once, or free some"));
    }
  }
  std::fputs(program.help().c_str(), stderr);
  return kUsage;
}

}  // namespace geist::cli
