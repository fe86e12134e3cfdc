// Completion scripts, made from the commands and options themselves so that they are never out of
// date.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/output.h"

namespace geist::cli {
namespace {

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

// 'text' for a shell: our own summaries have no quotes, but nothing else holds that.
std::string shell_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::vector<std::string> command_names(const CLI::App& program) {
  std::vector<std::string> names;
  for (const CLI::App* command : program.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

// Words after the command: its options, else the names in the model store, else files.
constexpr const char* kModels = "$(ls \"${GEIST_HOME:-$HOME/.geist/models}\" 2>/dev/null)";

std::string bash_script(const CLI::App& program) {
  std::string out =
      "_geist() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} options=\n"
      "  if [ \"$COMP_CWORD\" = 1 ]; then\n"
      "    COMPREPLY=($(compgen -W \"help --help --version " +
      joined(command_names(program)) + "\" -- \"$word\"))\n    return\n  fi\n  case $command in\n";
  for (const CLI::App* command : program.get_subcommands({})) {
    out += "    " + command->get_name() +
           ") options=" + shell_quoted(joined(option_names(*command))) + ";;\n";
  }
  out += "    help) options=" + shell_quoted(joined(command_names(program))) +
         ";;\n  esac\n"
         "  if [[ $word == -* || $command == help ]]; then\n"
         "    COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
         "  else\n"
         "    COMPREPLY=($(compgen -f -- \"$word\") $(compgen -W \"";
  out += kModels;
  out += "\" -- \"$word\"))\n  fi\n}\ncomplete -o filenames -F _geist geist\n";
  return out;
}

std::string zsh_script(const CLI::App& program) {
  std::string out =
      "#compdef geist\n_geist() {\n  local -a commands options\n  commands=(\n    'help:Explain a "
      "command'\n";
  for (const CLI::App* command : program.get_subcommands({})) {
    out += "    " + shell_quoted(command->get_name() + ":" + command->get_description()) + "\n";
  }
  out +=
      "  )\n  if (( CURRENT == 2 )); then\n    _describe command commands\n    return\n  fi\n"
      "  case $words[2] in\n";
  for (const CLI::App* command : program.get_subcommands({})) {
    out += "    " + command->get_name() + ") options=(" + joined(option_names(*command)) + ");;\n";
  }
  out +=
      "    help) _describe command commands; return;;\n  esac\n"
      "  if [[ $PREFIX == -* ]]; then\n    compadd -- $options\n  else\n    _files\n    compadd "
      "-- ";
  out += "$(ls \"${GEIST_HOME:-$HOME/.geist/models}\" 2>/dev/null)";
  out += "\n  fi\n}\ncompdef _geist geist\n";
  return out;
}

std::string fish_script(const CLI::App& program) {
  std::string out = "complete -c geist -n __fish_use_subcommand -a help -d 'Explain a command'\n";
  for (const CLI::App* command : program.get_subcommands({})) {
    out += "complete -c geist -n __fish_use_subcommand -f -a " + command->get_name() + " -d " +
           shell_quoted(command->get_description()) + "\n";
    const std::string condition =
        "complete -c geist -n " +
        shell_quoted("__fish_seen_subcommand_from " + command->get_name());
    for (const CLI::Option* option : command->get_options()) {
      std::string line = condition;
      for (const std::string& name : option->get_snames()) line += " -s " + name;
      for (const std::string& name : option->get_lnames()) line += " -l " + name;
      if (line == condition) continue;  // positional
      out += line + " -d " + shell_quoted(printable(option->get_description())) + "\n";
    }
  }
  return out +
         "complete -c geist -a '(ls (set -q GEIST_HOME; and echo $GEIST_HOME; or echo "
         "$HOME/.geist/models) 2>/dev/null)'\n";
}

int run_completion(const CLI::App& program, const std::string& shell) {
  const std::string script = shell == "bash"  ? bash_script(program)
                             : shell == "zsh" ? zsh_script(program)
                                              : fish_script(program);
  if (const Status status = write_output(script); !status) return fail(status.error());
  return kDone;
}

}  // namespace

Command completion_command() {
  return {"completion", "Print a completion script for bash, zsh or fish",
          "eval \"$(geist completion bash)\"\n"
          "geist completion zsh > ~/.zfunc/_geist\n"
          "geist completion fish > ~/.config/fish/completions/geist.fish",
          [](CLI::App& app) -> std::function<int()> {
            auto shell = std::make_shared<std::string>();
            app.add_option("shell", *shell, "bash, zsh or fish")
                ->required()
                ->check(CLI::IsMember({"bash", "zsh", "fish"}));
            return [shell, program = app.get_parent()] { return run_completion(*program, *shell); };
          }};
}

}  // namespace geist::cli
