#include "cli/subprocess.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

extern char** environ;

namespace geist::cli {
namespace {

Status drain(int fd, const std::function<Status(std::span<const std::byte>)>& sink) {
  std::vector<std::byte> buffer(size_t{1} << 18);
  for (;;) {
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
                      const std::function<Status(std::span<const std::byte>)>& sink) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errorf("cannot make a pipe: %s", std::strerror(errno));
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  pid_t child = 0;
  const int spawned = ::posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (spawned != 0) {
    ::close(ends[0]);
    return errorf("cannot run %s: %s", argv[0], std::strerror(spawned));
  }
  Status status = drain(ends[0], sink);
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
