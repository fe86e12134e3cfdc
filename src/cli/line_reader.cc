#include "cli/line_reader.h"

#include <fcntl.h>
#include <histedit.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "cli/interrupt.h"

namespace geist::cli {
namespace {

constexpr int kHistoryMax = 1000;

class StandardInput final : public LineReader {
 public:
  Line read(const std::string&) override {
    char* buffer = nullptr;
    size_t capacity = 0;
    const ssize_t length = ::getline(&buffer, &capacity, stdin);
    Line line{length < 0 ? Line::Kind::kEnd : Line::Kind::kText, ""};
    if (length > 0) line.text.assign(buffer, static_cast<size_t>(length));
    std::free(buffer);
    if (line.text.ends_with('\n')) line.text.pop_back();
    if (line.text.ends_with('\r')) line.text.pop_back();
    return line;
  }
  void remember(const std::string&) override {}
  bool is_terminal() const override { return false; }
};

class Terminal final : public LineReader {
 public:
  explicit Terminal(std::string history_file) : history_file_(std::move(history_file)) {
    // libedit reads UTF-8 only in a UTF-8 locale. Numbers stay as they are: LC_CTYPE alone.
    const char* locale = std::setlocale(LC_CTYPE, "");
    if (locale == nullptr || std::strcmp(locale, "C") == 0) std::setlocale(LC_CTYPE, "C.UTF-8");
    edit_ = ::el_init("geist", stdin, stdout, stderr);
    history_ = ::history_init();
    ::HistEvent event;
    ::history(history_, &event, H_SETSIZE, kHistoryMax);
    ::history(history_, &event, H_SETUNIQUE, 1);
    if (!history_file_.empty()) ::history(history_, &event, H_LOAD, history_file_.c_str());
    ::el_set(edit_, EL_CLIENTDATA, this);
    ::el_set(edit_, EL_PROMPT, &Terminal::prompt);
    ::el_set(edit_, EL_EDITOR, "emacs");
    ::el_set(edit_, EL_HIST, ::history, history_);
    // Ctrl-C is a key while a line is edited: it drops the line, not the program.
    ::el_set(edit_, EL_ADDFN, "geist-cancel", "Drop the line", &Terminal::cancel);
    ::el_set(edit_, EL_BIND, "^C", "geist-cancel", nullptr);
    ::el_set(edit_, EL_SETTY, "-d", "-isig", nullptr);
    ::el_source(edit_, nullptr);
  }
  ~Terminal() override {
    ::history_end(history_);
    ::el_end(edit_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  Line read(const std::string& text) override {
    prompt_ = text;
    cancelled_ = false;
    int length = 0;
    // libedit takes the terminal over only after it has shown the prompt: a Ctrl-C before that is a
    // signal.
    const CatchInterrupt catching;
    const char* typed = ::el_gets(edit_, &length);
    if (interrupted()) cancelled_ = true;
    clear_interrupt();
    if (cancelled_) {
      std::fputs("^C\n", stdout);
      return {Line::Kind::kCancelled, ""};
    }
    if (typed == nullptr || length <= 0) return {Line::Kind::kEnd, ""};
    Line line{Line::Kind::kText, std::string(typed, static_cast<size_t>(length))};
    if (line.text.ends_with('\n')) line.text.pop_back();
    return line;
  }

  void remember(const std::string& message) override {
    ::HistEvent event;
    ::history(history_, &event, H_ENTER, message.c_str());
    if (history_file_.empty()) return;
    std::error_code error;
    std::filesystem::create_directories(std::filesystem::path(history_file_).parent_path(), error);
    // libedit writes by name, or to a stream that is a file: never over the history that is there.
    const std::string part = AtomicFile::temporary_name(history_file_);
    if (::history(history_, &event, H_SAVE, part.c_str()) < 0) return;
    const int file = ::open(part.c_str(), O_RDONLY | O_CLOEXEC);
    const bool synced = file >= 0 && ::fsync(file) == 0;
    if (file >= 0) ::close(file);
    if (synced && ::rename(part.c_str(), history_file_.c_str()) == 0) {
      sync_folder_of(history_file_);
    } else {
      ::unlink(part.c_str());
    }
  }
  bool is_terminal() const override { return true; }

 private:
  static Terminal* self(::EditLine* edit) {
    void* data = nullptr;
    ::el_get(edit, EL_CLIENTDATA, &data);
    return static_cast<Terminal*>(data);
  }
  static char* prompt(::EditLine* edit) { return self(edit)->prompt_.data(); }
  static unsigned char cancel(::EditLine* edit, int) {
    self(edit)->cancelled_ = true;
    return CC_NEWLINE;
  }

  std::string history_file_, prompt_;
  bool cancelled_ = false;
  ::EditLine* edit_ = nullptr;
  ::History* history_ = nullptr;
};

constexpr std::string_view kBlock = "\"\"\"";

// After an opening """: everything up to the closing one, which may follow text on its line.
Line read_block(LineReader& reader, std::string text) {
  for (;;) {
    if (text.ends_with(kBlock)) {
      text.resize(text.size() - kBlock.size());
      if (text.ends_with('\n')) text.pop_back();
      return {Line::Kind::kText, text};
    }
    const Line next = reader.read(". ");
    if (next.kind == Line::Kind::kEnd) return {Line::Kind::kText, text};
    if (next.kind == Line::Kind::kCancelled) return next;
    text += (text.empty() ? "" : "\n") + next.text;
  }
}

}  // namespace

std::unique_ptr<LineReader> make_line_reader(const std::string& history_file) {
  if (::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1)
    return std::make_unique<Terminal>(history_file);
  return std::make_unique<StandardInput>();
}

Line read_message(LineReader& reader) {
  Line line = reader.read("> ");
  if (line.kind != Line::Kind::kText) return line;
  if (line.text.starts_with(kBlock)) {
    line = read_block(reader, line.text.substr(kBlock.size()));
  } else {
    while (line.kind == Line::Kind::kText && line.text.ends_with('\\')) {
      line.text.back() = '\n';
      const Line next = reader.read(". ");
      if (next.kind == Line::Kind::kCancelled) return next;
      line.text += next.text;
      if (next.kind == Line::Kind::kEnd) break;
    }
  }
  if (line.kind == Line::Kind::kText && !line.text.empty()) reader.remember(line.text);
  return line;
}

}  // namespace geist::cli
