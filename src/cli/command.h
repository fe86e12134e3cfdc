// A command of the geist program: its own file cmd_NAME.cc, and one line in commands.def.
//
//   Command render_command() {
//     return {"render", "Render a chat template", "geist render model.gguf < context.json",
//             [](CLI::App& app) -> std::function<int()> {
//               auto source = std::make_shared<std::string>();
//               app.add_option("model", *source, "a GGUF file or a .jinja file")->required();
//               return [source] { return render(*source); };
//             }};
//   }
//
// The function that configure() returns does the work and gives the exit code. Errors of the world
// are printed by fail() (output.h), which returns kFailed.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace CLI {
class App;
}

namespace geist::cli {

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;         // the work failed
inline constexpr int kUsage = 2;          // the words are off
inline constexpr int kInterrupted = 130;  // Ctrl-C

struct Command {
  std::string_view name;
  std::string_view summary;   // one line, for the list of commands
  std::string_view examples;  // lines shown at the end of --help, without indentation
  std::function<int()> (*configure)(CLI::App& app);
};

// The examples of a command as its --help shows them.
std::string example_lines(std::string_view examples);

// All commands, in the order of --help.
std::span<const Command> commands();

// Parses the words after the program's name, runs the command, returns the exit code.
int run_program(int argc, const char* const* argv);

}  // namespace geist::cli
