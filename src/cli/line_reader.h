// Where a chat's lines come from: a terminal with line editing and history (libedit), or any other
// standard input, line by line.
#pragma once

#include <memory>
#include <string>

namespace geist::cli {

struct Line {
  enum class Kind {
    kText,
    kCancelled,  // Ctrl-C at the prompt
    kEnd,        // end of file, Ctrl-D
  };
  Kind kind;
  std::string text;  // without the newline
};

class LineReader {
 public:
  virtual ~LineReader() = default;
  virtual Line read(const std::string& prompt) = 0;
  // Puts a message, possibly of several lines, into the history.
  virtual void remember(const std::string& message) = 0;
  virtual bool is_terminal() const = 0;
};

// history_file: kept on a terminal; its folder is made when missing. May be empty.
std::unique_ptr<LineReader> make_line_reader(const std::string& history_file);

// One message: a line, or several when a line ends in a backslash or the message stands between
// lines of """.
Line read_message(LineReader& reader);

}  // namespace geist::cli
