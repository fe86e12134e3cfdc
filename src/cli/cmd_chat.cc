// geist chat: a conversation in the terminal. Ctrl-C stops an answer, Ctrl-D ends the chat. When
// standard input is not a terminal each of its lines is a message (or a /command), so a chat can be
// scripted.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "cli/command.h"
#include "cli/conversation.h"
#include "cli/feedback.h"
#include "cli/interrupt.h"
#include "cli/line_reader.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/prompt_cache.h"
#include "cli/sampler_options.h"
#include "cli/speculation_options.h"
#include "cli/store.h"

namespace geist::cli {
namespace {

struct ChatOptions {
  ModelOptions model;
  SamplerFlags sampler;
  SpeculationFlags speculation;
  PromptCacheOptions cache;
  std::string system;
  int32_t tokens_max = -1;
  bool verbose = false;
};

class Chat {
 public:
  Chat(const ChatOptions& options, const SpeakingModel& loaded, Conversation& conversation,
       LineReader& reader)
      : options_(options),
        tokenizer_(*loaded.tokenizer),
        model_files_(loaded.files()),
        conversation_(conversation),
        reader_(reader) {}

  // Until /exit or the end of input.
  int run();

 private:
  struct SlashCommand {
    const char* name;
    const char* arguments;
    const char* text;
    void (Chat::*run)(const std::string& argument);
  };
  static const SlashCommand kCommands[];

  void handle_command(const std::string& line);
  void handle_message(const std::string& text);
  void judge(bool good);
  void answer();
  void report(const Answer& answer);
  void complain(const Error& error) {
    fail(error);
    failed_ = true;
  }

  void help(const std::string&);
  void clear(const std::string&);
  void system(const std::string& text);
  void save(const std::string& path);
  void load(const std::string& path);
  void regenerate(const std::string&);
  void set(const std::string& words);
  void good(const std::string&) { judge(true); }
  void bad(const std::string&) { judge(false); }
  void exit(const std::string&) { done_ = true; }

  const ChatOptions& options_;
  const text::Tokenizer& tokenizer_;
  const std::vector<std::string> model_files_;
  Conversation& conversation_;
  LineReader& reader_;
  bool done_ = false, failed_ = false, interrupted_ = false;
};

const Chat::SlashCommand Chat::kCommands[] = {
    {"help", "", "this list", &Chat::help},
    {"clear", "", "forget the conversation (the system message stays)", &Chat::clear},
    {"system", "TEXT", "set the system message; without TEXT, remove it", &Chat::system},
    {"save", "FILE", "write the conversation as JSON", &Chat::save},
    {"load", "FILE", "go on with a saved conversation", &Chat::load},
    {"regen", "", "answer the last message anew", &Chat::regenerate},
    {"set", "NAME VALUE", "change an option of sampling; alone, list them", &Chat::set},
    {"good", "", "keep the last reply as a good one (geist feedback)", &Chat::good},
    {"bad", "", "keep it as a bad one; /regen for a better one", &Chat::bad},
    {"exit", "", "leave (or Ctrl-D)", &Chat::exit},
};

void Chat::help(const std::string&) {
  for (const SlashCommand& command : kCommands) {
    std::fprintf(stderr, "  /%-7s%-11s %s\n", command.name, command.arguments, command.text);
  }
  std::fputs(
      "  A line that ends in a backslash goes on in the next; a text of several lines may stand "
      "between\n"
      "  lines of \"\"\". Ctrl-C stops an answer.\n",
      stderr);
}

void Chat::clear(const std::string&) { conversation_.messages().clear(); }

void Chat::system(const std::string& text) { conversation_.set_system(text); }

void Chat::save(const std::string& path) {
  if (path.empty()) return complain(errorf("/save takes the name of a file"));
  Status status = refuse_overwriting(path, model_files_);
  if (status.ok()) status = write_file(path, conversation_.to_json());
  if (!status) complain(status.error());
}

void Chat::load(const std::string& path) {
  if (path.empty()) return complain(errorf("/load takes the name of a file"));
  const auto text = read_file(path);
  if (!text.ok()) return complain(text.error());
  if (Status status = conversation_.from_json(*text); !status) {
    complain(errorf("%s: %s", path.c_str(), status.error().message.c_str()));
  }
}

void Chat::regenerate(const std::string&) {
  auto& messages = conversation_.messages();
  if (!messages.empty() && messages.back().role == "assistant") messages.pop_back();
  if (messages.empty()) return complain(errorf("there is nothing to answer"));
  answer();
}

void Chat::judge(bool good) {
  const auto& messages = conversation_.messages();
  if (messages.empty() || messages.back().role != "assistant")
    return complain(errorf("there is no reply to judge"));
  Feedback feedback{.model = options_.model.model, .reply = messages.back().content, .good = good};
  if (!conversation_.system().empty())
    feedback.messages.push_back({"system", conversation_.system()});
  feedback.messages.insert(feedback.messages.end(), messages.begin(), messages.end() - 1);
  const std::string path = feedback_file();
  if (const Status status = append_feedback(path, feedback); !status.ok())
    return complain(status.error());
  if (reader_.is_terminal()) note("kept as %s in %s", good ? "good" : "bad", path.c_str());
}

void Chat::set(const std::string& words) {
  if (words.empty()) {
    std::fputs(describe_sampler_options(conversation_.sampler_options()).c_str(), stderr);
    return;
  }
  const size_t space = words.find(' ');
  if (space == std::string::npos) return complain(errorf("/set takes a name and a value"));
  const Status status = set_sampler_option(conversation_.sampler_options(), words.substr(0, space),
                                           words.substr(words.find_last_of(' ') + 1), tokenizer_);
  if (!status) complain(status.error());
}

void Chat::handle_command(const std::string& line) {
  const size_t space = std::min(line.find(' '), line.size());
  const std::string name = line.substr(1, space - 1);
  const size_t begin = std::min(line.find_first_not_of(' ', space), line.size());
  const std::string argument = line.substr(begin, line.find_last_not_of(' ') + 1 - begin);
  for (const SlashCommand& command : kCommands) {
    if (name == command.name || (name == "quit" && command.run == &Chat::exit)) {
      return (this->*command.run)(argument);
    }
  }
  complain(errorf("there is no command /%s; /help lists them", name.c_str()));
}

void Chat::handle_message(const std::string& text) {
  conversation_.messages().push_back({"user", text});
  answer();
}

void Chat::report(const Answer& answer) {
  const auto rate = [](int32_t count, double seconds) {
    return seconds > 0 ? count / seconds : 0.0;
  };
  const int32_t computed = answer.prompt_tokens - answer.cached_tokens;
  note(
      "prompt %d tokens (%d cached), %.1f tokens/s; answer %d tokens, %.1f tokens/s; drafted %lld "
      "and accepted %lld so far; ended by %s",
      answer.prompt_tokens, answer.cached_tokens, rate(computed, answer.prefill_s), answer.tokens,
      rate(std::max(answer.tokens - 1, 0), answer.decode_s),
      static_cast<long long>(answer.speculation.drafted),
      static_cast<long long>(answer.speculation.accepted),
      std::string(engine::stop_reason_name(answer.stop)).c_str());
}

void Chat::answer() {
  const CatchInterrupt catching;
  const auto answer = conversation_.answer(
      options_.tokens_max,
      [](std::string_view text) {
        std::fwrite(text.data(), 1, text.size(), stdout);
        std::fflush(stdout);
      },
      [] { return interrupted() || std::ferror(stdout) != 0; });
  if (interrupted()) {
    // On a terminal Ctrl-C means this answer; in a script, everything.
    interrupted_ = !reader_.is_terminal();
    clear_interrupt();
  }
  if (!answer.ok()) {
    conversation_.messages().pop_back();  // the message that could not be answered
    return complain(answer.error());
  }
  if (answer->stop == engine::StopReason::kCancelled && answer->text.empty()) {
    conversation_.messages().pop_back();
    return note("stopped before the answer began; the message is taken back");
  }
  std::fputc('\n', stdout);
  std::fflush(stdout);
  if (std::ferror(stdout) != 0) done_ = true;
  if (answer->messages_forgotten > 0) {
    note("the context is full: the model no longer sees the first %d messages",
         answer->messages_forgotten);
  }
  if (answer->stop == engine::StopReason::kContext)
    note("the answer fills the context; /clear starts anew");
  if (options_.verbose) report(*answer);
}

int Chat::run() {
  // On a terminal a Ctrl-C between the line and its answer means the answer too. The editor reads
  // Ctrl-C as a letter.
  std::optional<CatchInterrupt> catching;
  if (reader_.is_terminal()) catching.emplace();
  while (!done_ && !interrupted_) {
    const Line line = read_message(reader_);
    if (line.kind == Line::Kind::kEnd) break;
    if (line.kind == Line::Kind::kCancelled) continue;
    if (line.text.find_first_not_of(" \t") == std::string::npos) continue;
    line.text.starts_with('/') ? handle_command(line.text) : handle_message(line.text);
  }
  if (interrupted_) return kInterrupted;
  // People have seen what went wrong; scripts look at the exit code.
  return failed_ && !reader_.is_terminal() ? kFailed : kDone;
}

void greet(const SpeakingModel& loaded, const engine::ChatFormat& format) {
  const model::Config& config = loaded.model->config();
  std::fprintf(stderr, "%s, context %d. /help lists commands, Ctrl-D leaves.\n",
               printable(config.name.empty() ? config.architecture
                                             : config.name + " (" + config.architecture + ")")
                   .c_str(),
               config.context_length);
  if (!format.from_model())
    note("this model brings no chat template: it may not have learned to chat");
}

int run_chat(const ChatOptions& options) {
  if (Status status = check_sampler_flags(options.sampler); !status)
    return usage("%s", status.error().message.c_str());
  auto opened = open_speaking_model(options.model);
  if (!opened.ok()) return fail(opened.error());
  const auto sampler = finish_sampler_options(options.sampler, opened->tokenizer);
  if (!sampler.ok()) return fail(sampler.error());
  auto loaded = load_speaking_model(std::move(*opened), options.model);
  if (!loaded.ok()) return fail(loaded.error());
  if (!loaded->model->config().has_logits) {
    return fail(errorf("%s: an embedding model cannot chat", options.model.model.c_str()));
  }
  const auto format =
      engine::ChatFormat::create(loaded->model->file().metadata(), *loaded->tokenizer);
  if (!format.ok()) return fail(format.error());
  const auto speculator = make_speculator(options.speculation, *loaded);
  if (!speculator.ok()) return fail(speculator.error());
  PromptCache cache(*loaded, options.cache, true, options.verbose);
  Conversation conversation(*loaded, *format, cache, *sampler, options.model.context_max,
                            speculator->get());
  conversation.set_system(options.system);
  const auto reader = make_line_reader(user_file("chat_history"));
  if (reader->is_terminal()) greet(*loaded, *format);
  if (options.verbose) note("seed %llu", static_cast<unsigned long long>(sampler->seed));
  return Chat(options, *loaded, conversation, *reader).run();
}

}  // namespace

Command chat_command() {
  return {"chat", "Talk with a model in the terminal",
          "geist chat tinyllama\n"
          "geist chat model.gguf --system 'You are brief.' --temp 0.5\n"
          "echo 'What is the capital of France?' | geist chat tinyllama",
          [](CLI::App& app) -> std::function<int()> {
            auto options = std::make_shared<ChatOptions>();
            add_model_options(app, options->model);
            add_context_option(app, options->model);
            add_lora_option(app, options->model);
            add_kv_option(app, options->model);
            app.add_option("--system", options->system, "the system message");
            app.add_option("-n,--predict", options->tokens_max, "tokens of an answer at most")
                ->check(CLI::Range(-1, 1 << 30));
            app.add_flag("-v,--verbose", options->verbose, "seed and timings on standard error");
            add_prompt_cache_options(app, options->cache);
            add_sampler_options(app, options->sampler);
            add_speculation_options(app, options->speculation);
            return [options] { return run_chat(*options); };
          }};
}

}  // namespace geist::cli
