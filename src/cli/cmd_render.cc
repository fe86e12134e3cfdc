// geist render: a chat template's text, alone and byte for byte.
#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/file.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/store.h"
#include "gguf/gguf.h"
#include "model/hf_import.h"
#include "model/load_tokenizer.h"
#include "model/model.h"
#include "text/chat_context.h"
#include "text/chat_template.h"

namespace geist::cli {
namespace {

constexpr size_t kTemplateBytesMax = size_t{16} << 20, kContextBytesMax = size_t{64} << 20;

struct RenderOptions {
  std::string source;
  std::optional<int64_t> unix_time_s;
  bool fold_system = false;
};

struct Source {
  std::string text;  // of the template
  std::string bos_token, eos_token;
  bool from_model = false;
};

Result<Source> load_model_template(const std::string& path) {
  GEIST_ASSIGN(const gguf::File file, model::open_model_file(path));
  GEIST_ASSIGN(const std::optional<std::string> text, model::load_chat_template(file.metadata()));
  if (!text) return Error{path + ": the model has no chat template"};
  GEIST_ASSIGN(const text::Tokenizer tokenizer, model::load_tokenizer(file.metadata()));
  const text::Vocabulary& vocabulary = tokenizer.vocabulary();
  Source source{*text, "", "", true};
  if (vocabulary.bos >= 0) source.bos_token = tokenizer.token_bytes(vocabulary.bos, true);
  if (vocabulary.eos >= 0) source.eos_token = tokenizer.token_bytes(vocabulary.eos, true);
  return source;
}

// A file that starts as GGUF files do, or a name in the store, is a model; any other file a
// template.
Result<Source> load_source(const std::string& name) {
  std::error_code ignored;
  if (std::filesystem::is_fifo(name, ignored)) {  // <(...) of a shell
    GEIST_ASSIGN(std::string text, read_file(name, kTemplateBytesMax));
    return Source{std::move(text), "", "", false};
  }
  if (std::filesystem::is_regular_file(name, ignored)) {
    GEIST_ASSIGN(const MappedFile file, MappedFile::open(name));
    const std::string_view bytes(reinterpret_cast<const char*>(file.bytes().data()),
                                 file.bytes().size());
    if (!bytes.starts_with("GGUF")) {
      if (bytes.size() > kTemplateBytesMax)
        return Error{name + ": neither a GGUF file nor a template"};
      return Source{std::string(bytes), "", "", false};
    }
  }
  GEIST_ASSIGN(const std::string path, find_model(name));
  return load_model_template(path);
}

// Puts the model's own tokens in front of the context's keys: of equal keys the last one wins, so
// what the context says itself stays.
std::string with_tokens(const Source& source, const std::string& context) {
  const size_t brace = context.find_first_not_of(" \t\r\n");
  if (!source.from_model || brace == std::string::npos || context[brace] != '{') return context;
  const size_t first = context.find_first_not_of(" \t\r\n", brace + 1);
  const nlohmann::ordered_json tokens = {{"bos_token", source.bos_token},
                                         {"eos_token", source.eos_token}};
  std::string out = tokens.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  out.pop_back();
  if (first != std::string::npos && context[first] != '}') out += ',';
  return out + context.substr(brace + 1);
}

int64_t now_s() {
  using namespace std::chrono;
  return duration_cast<seconds>(system_clock::now().time_since_epoch()).count();
}

Result<std::string> render(const RenderOptions& options) {
  GEIST_ASSIGN(const Source source, load_source(options.source));
  const auto parsed = text::ChatTemplate::parse(source.text);
  if (!parsed.ok()) return Error{options.source + ": " + parsed.error().message};
  GEIST_ASSIGN(const std::string given, read_file("-", kContextBytesMax));
  std::string context = with_tokens(source, given);
  if (options.fold_system) {
    GEIST_ASSIGN(context, text::fold_system_message(*parsed, context));
  }
  auto text = parsed->render(context, options.unix_time_s.value_or(now_s()));
  if (!text.ok()) return Error{options.source + ": " + text.error().message};
  return text;
}

int run_render(const RenderOptions& options) {
  const auto text = render(options);
  if (!text.ok()) return fail(text.error());
  if (const Status status = write_output(*text); !status) return fail(status.error());
  return kDone;
}

}  // namespace

Command render_command() {
  return {
      "render", "Render a chat template with a context in JSON from standard input",
      "geist render tinyllama < context.json\ngeist render template.jinja --time 0 < context.json",
      [](CLI::App& app) -> std::function<int()> {
        auto options = std::make_shared<RenderOptions>();
        app.add_option(
               "model", options->source,
               "a .jinja file, a GGUF file, a Hugging Face folder or a name in the model store")
            ->required();
        app.add_option("--time", options->unix_time_s,
                       "what strftime_now sees, in seconds since 1970 (default: now; always UTC)");
        app.add_flag(
            "--fold-system", options->fold_system,
            "put a system message that the template does not show in front of the first "
            "user message, as geist chat and llama.cpp do; Jinja itself drops it or stops");
        return [options] { return run_render(*options); };
      }};
}

}  // namespace geist::cli
