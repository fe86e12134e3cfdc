#include "cli/run_file.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

extern "C" int geist_run_file_main(int argc, char** argv);  // main() of run/geist.c

namespace geist::cli {
namespace {

// In the child: its words go to `errors`; with a limit of no tokens it reads the model and ends.
[[noreturn]] void ask(const std::string& path, int errors) {
  const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (nowhere < 0 || ::dup2(nowhere, STDOUT_FILENO) < 0 || ::dup2(errors, STDERR_FILENO) < 0)
    ::_exit(2);
  std::array<std::string, 6> words = {"g", path, "a", "-n", "0", "--raw"};
  std::array<char*, 7> argv{};
  for (size_t i = 0; i < words.size(); ++i) argv[i] = words[i].data();
  // exit(), which ends a refusal, would run the parent's cleaning up a second time.
  ::on_exit([](int code, void*) { ::_exit(code); }, nullptr);
  ::_exit(geist_run_file_main(static_cast<int>(words.size()), argv.data()));
}

}  // namespace

Status check_run_file_reads(const std::string& path) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    return errorf("cannot make a pipe: %s", std::strerror(errno));
  const pid_t child = ::fork();
  if (child == 0) ask(path, ends[1]);
  ::close(ends[1]);
  std::string said;
  std::array<char, 512> bytes{};
  for (ssize_t n = 0; child > 0 && (n = ::read(ends[0], bytes.data(), bytes.size())) != 0;) {
    if (n > 0) said.append(bytes.data(), static_cast<size_t>(n));
    if (n < 0 && errno != EINTR) break;
  }
  ::close(ends[0]);
  if (child < 0) return errorf("cannot start a process: %s", std::strerror(errno));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  constexpr std::string_view kPrefix = "geist: ";
  if (said.starts_with(kPrefix)) said.erase(0, kPrefix.size());
  while (said.ends_with('\n') || said.ends_with(' ')) said.pop_back();
  if (said.empty()) said = path + ": it ended without a word";
  const bool is_type = said.find("the type of the tensor") != std::string::npos;
  return errorf("the run file does not read this model; geist run does: %s%s", said.c_str(),
                is_type ? "; geist quantize MODEL OUT Q8_0 makes a file that it reads" : "");
}

}  // namespace geist::cli
