// A signal handler can reach nothing but globals, so the four below are the program's only ones.
// They are lock-free atomics and fixed arrays: all that the handler does is async-signal-safe.
#include "cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>

#include "base/check.h"
#include "base/file.h"
#include "cli/command.h"

namespace geist::cli {
namespace {

constexpr int kPathsMax = 8;
constexpr size_t kPathBytesMax = 4096;

struct PartialPath {
  std::atomic<bool> used{false};
  char path[kPathBytesMax];
};

std::atomic<bool> g_interrupted{false};
std::atomic<int> g_catchers{0};
PartialPath g_partial[kPathsMax];
std::atomic<const TerminationHook*> g_hook{nullptr};

void handle(int signal) {
  if (signal == SIGINT && g_catchers.load() > 0 && !g_interrupted.exchange(true)) return;
  for (const PartialPath& partial : g_partial) {
    if (partial.used.load()) ::unlink(partial.path);
  }
  if (const TerminationHook* hook = g_hook.load(); signal == SIGTERM && hook != nullptr)
    hook->run(hook->context);
  _exit(signal == SIGINT ? kInterrupted : signal == SIGBUS ? kFailed : 128 + signal);
}

// A file that is read in place was cut short, or its disk does not give it.
void handle_lost_page(int) {
  constexpr char kLine[] =
      "geist: a file that is in use was cut short or cannot be read any more; get it again\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kLine, sizeof kLine - 1);
  handle(SIGBUS);
}

}  // namespace

void install_interrupt_handler() {
  struct sigaction action {};
  action.sa_handler = handle;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = handle_lost_page;
  sigaction(SIGBUS, &action, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
  sigaction(SIGXFSZ, &action, nullptr);
}

CatchInterrupt::CatchInterrupt() { g_catchers.fetch_add(1); }
CatchInterrupt::~CatchInterrupt() { g_catchers.fetch_sub(1); }

bool interrupted() { return g_interrupted.load(std::memory_order_relaxed); }
void clear_interrupt() { g_interrupted.store(false); }
void set_termination_hook(const TerminationHook* hook) { g_hook.store(hook); }

RemoveOnInterrupt::RemoveOnInterrupt(const std::string& path) : slot_(-1) {
  for (int slot = 0; slot < kPathsMax && slot_ < 0; ++slot) {
    if (!g_partial[slot].used.load()) slot_ = slot;
  }
  GEIST_CHECK(slot_ >= 0);
  const int length = std::snprintf(g_partial[slot_].path, kPathBytesMax, "%s",
                                   AtomicFile::temporary_name(path).c_str());
  g_partial[slot_].used.store(length > 0 && static_cast<size_t>(length) < kPathBytesMax);
}

RemoveOnInterrupt::~RemoveOnInterrupt() { g_partial[slot_].used.store(false); }

}  // namespace geist::cli
