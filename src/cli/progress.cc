#include "cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "cli/output.h"

namespace geist::cli {
namespace {

using std::chrono::duration;

constexpr double kTerminalInterval_s = 0.1, kPlainInterval_s = 5.0;

int terminal_columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string bar(double share, int width) {
  const int filled = static_cast<int>(share * width + 0.5);
  return "[" + std::string(filled, '#') + std::string(width - filled, '.') + "]";
}

}  // namespace

Progress::Progress(std::string label, uint64_t total, Unit unit, bool quiet)
    : label_(std::move(label)),
      total_(total),
      unit_(unit),
      quiet_(quiet),
      terminal_(::isatty(STDERR_FILENO) == 1),
      begin_(Clock::now()),
      last_shown_(begin_) {}

Progress::~Progress() {
  if (terminal_ && shown_) std::fputc('\n', stderr);
}

void Progress::update(uint64_t done) {
  done_ = done;
  const auto now = Clock::now();
  const double interval_s = terminal_ ? kTerminalInterval_s : kPlainInterval_s;
  if (duration<double>(now - last_shown_).count() >= interval_s) show(now);
}

void Progress::finish() {
  show(Clock::now());
  if (terminal_ && shown_) std::fputc('\n', stderr);
  shown_ = false;
  quiet_ = true;
}

void Progress::show(Clock::time_point now) {
  if (quiet_) return;
  const std::string text = line(now);
  std::fprintf(stderr, terminal_ ? "\r%s\033[K" : "%s\n", text.c_str());
  std::fflush(stderr);
  shown_ = true;
  last_shown_ = now;
}

std::string Progress::line(Clock::time_point now) const {
  const auto amount = [&](double n) {
    return unit_ == Unit::kBytes ? human_bytes(n) : human_count(n);
  };
  const double elapsed_s = std::max(duration<double>(now - begin_).count(), 1e-9);
  const double rate = static_cast<double>(done_ - std::min(start_, done_)) / elapsed_s;
  std::string text = unit_ == Unit::kShare ? "" : amount(static_cast<double>(done_));
  if (total_ > 0) {
    const double share = std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_));
    char percent[16];
    std::snprintf(percent, sizeof percent, "%3.0f%%", share * 100);
    text = unit_ == Unit::kShare
               ? percent
               : std::string(percent) + " " + text + " of " + amount(static_cast<double>(total_));
    const int room = terminal_columns() - static_cast<int>(label_.size()) - 60;
    if (terminal_ && room >= 10) text = bar(share, std::min(room, 40)) + " " + text;
  }
  if (unit_ != Unit::kShare) text += ", " + amount(rate) + "/s";
  if (total_ > done_ && rate > 0) {
    text += ", " + human_seconds(static_cast<double>(total_ - done_) / rate) + " left";
  }
  return label_ + " " + text;
}

}  // namespace geist::cli
