// What commands say: results on standard output, everything else on standard error, an error as one
// line "geist: ...".
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace geist::cli {

// Prints "geist: message" and returns kFailed (or, after Ctrl-C, kInterrupted silently).
int fail(const Error& error);
// Prints "geist: ..." and returns kUsage.
int usage(const char* format, ...) __attribute__((format(printf, 1, 2)));
// A remark on standard error, "geist: ..." too.
void note(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Writes bytes to standard output. Fails when the disk is full or the reader has gone.
Status write_output(std::string_view bytes);
// The same, and the reader sees it now.
Status show_output(std::string_view bytes);

// Flushes standard output; a command whose result could not be written has failed whatever it says.
int finish_output(int code);

// Text that may come from a hostile file, made safe to show: control characters become '?'.
std::string printable(std::string_view text);

// "1.2 GB", "340 kB": decimal units, three figures.
std::string human_bytes(double bytes);
// "1.10 B", "134.5 M": how counts of parameters are spelled.
std::string human_count(double count);
// "1:02:03", "0:07".
std::string human_seconds(double seconds);

}  // namespace geist::cli
