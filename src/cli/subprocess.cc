#include "cli/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

extern char** environ;

namespace geist::cli {
namespace {

constexpr int kAskEvery_ms = 200;

Status drain(int fd, pid_t child, const std::function<Status(std::span<const std::byte>)>& sink,
             const std::function<bool()>& interrupted) {
  std::vector<std::byte> buffer(size_t{1} << 18);
  bool told = false;
  for (;;) {
    if (interrupted) {
      if (!told && interrupted()) {
        ::kill(child, SIGINT);
        told = true;
      }
      pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
      if (::poll(&wait, 1, kAskEvery_ms) <= 0) continue;  // nothing yet, or a signal
    }
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errorf("cannot read from a pipe: %s", std::strerror(errno));
    if (n == 0) return {};
    if (Status status = sink(std::span(buffer).first(static_cast<size_t>(n))); !status)
      return status;
  }
}

}  // namespace

Status run_for_output(const std::vector<std::string>& arguments,
                      const std::function<Status(std::span<const std::byte>)>& sink,
                      const SubprocessOptions& options) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errorf("cannot make a pipe: %s", std::strerror(errno));
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  if (!options.folder.empty())
    posix_spawn_file_actions_addchdir_np(&actions, options.folder.c_str());
  pid_t child = 0;
  const int spawned = ::posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (spawned != 0) {
    ::close(ends[0]);
    return errorf("cannot run %s: %s", argv[0], std::strerror(spawned));
  }
  Status status = drain(ends[0], child, sink, options.interrupted);
  ::close(ends[0]);
  int state = 0;
  while (::waitpid(child, &state, 0) < 0 && errno == EINTR) {
  }
  if (status.ok() && (!WIFEXITED(state) || WEXITSTATUS(state) != 0)) {
    return errorf("%s failed", arguments[0].c_str());
  }
  return status;
}

}  // namespace geist::cli
