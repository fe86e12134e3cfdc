#include "cli/output.h"

#include <cmath>
#include <cstdarg>
#include <cstdio>

#include "cli/command.h"
#include "cli/interrupt.h"

namespace geist::cli {
namespace {

void print_line(std::string_view text) {
  const std::string line = "geist: " + printable(text) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

std::string format_arguments(const char* format, va_list arguments) {
  char buffer[2000];
  std::vsnprintf(buffer, sizeof buffer, format, arguments);
  return buffer;
}

std::string scaled(double value, const char* const (&units)[5]) {
  int unit = 0;
  while (unit < 4 && value >= 999.5) {
    value /= 1000;
    ++unit;
  }
  char buffer[32];
  const int digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  std::snprintf(buffer, sizeof buffer, "%.*f%s", digits, value, units[unit]);
  return buffer;
}

}  // namespace

int fail(const Error& error) {
  if (interrupted()) return kInterrupted;
  print_line(error.message);
  return kFailed;
}

int usage(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print_line(format_arguments(format, arguments));
  va_end(arguments);
  return kUsage;
}

void note(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print_line(format_arguments(format, arguments));
  va_end(arguments);
}

Status write_output(std::string_view bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size()) {
    return errorf("cannot write to standard output");
  }
  return {};
}

Status show_output(std::string_view bytes) {
  Status status = write_output(bytes);
  if (status.ok() && std::fflush(stdout) != 0) return errorf("cannot write to standard output");
  return status;
}

int finish_output(int code) {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    if (code != kDone) return code;
    return fail(errorf("cannot write to standard output"));
  }
  return code;
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += c == '\n' || c == '\t' ? ' ' : byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  return out;
}

std::string human_bytes(double bytes) { return scaled(bytes, {" B", " kB", " MB", " GB", " TB"}); }

std::string human_count(double count) { return scaled(count, {"", " K", " M", " B", " T"}); }

std::string human_seconds(double seconds) {
  if (!(seconds >= 0) || seconds > 1e7) return "--:--";
  const auto whole = static_cast<long>(seconds + 0.5);
  char buffer[40];
  if (whole >= 3600) {
    std::snprintf(buffer, sizeof buffer, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60,
                  whole % 60);
  } else {
    std::snprintf(buffer, sizeof buffer, "%ld:%02ld", whole / 60, whole % 60);
  }
  return buffer;
}

}  // namespace geist::cli
