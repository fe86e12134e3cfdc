#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

namespace geist {
namespace {

Error errno_error(const char* what, const std::string& path) {
  return errorf("%s: %s: %s", path.c_str(), what, std::strerror(errno));
}

using FileId = std::pair<dev_t, ino_t>;

// Behind links; nothing when there is no such file.
std::optional<FileId> file_id(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  return FileId{info.st_dev, info.st_ino};
}

std::string identity_of(const struct stat& info) {
  const auto nanoseconds = [](const timespec& t) {
    return std::to_string(int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec);
  };
  return std::to_string(info.st_dev) + " " + std::to_string(info.st_ino) + " " +
         std::to_string(info.st_size) + " " + nanoseconds(info.st_mtim) + " " +
         nanoseconds(info.st_ctim);
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
  // O_NONBLOCK: opening a FIFO would wait for a writer, and it is refused below anyway.
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  if (file.fd < 0) return errno_error("cannot open", path);
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) return errno_error("cannot stat", path);
  if (!S_ISREG(info.st_mode))
    return errorf("%s: not a regular file; give one that lies on a disk", path.c_str());
  const size_t size = static_cast<size_t>(info.st_size);
  if (size == 0) return MappedFile(-1, nullptr, 0, path, identity_of(info));
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) return errno_error("cannot map", path);
  return MappedFile(std::exchange(file.fd, -1), static_cast<const std::byte*>(data), size, path,
                    identity_of(info));
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      path_(std::move(other.path_)),
      identity_(std::move(other.identity_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  std::swap(identity_, other.identity_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  if (fd_ >= 0) ::close(fd_);
}

bool MappedFile::read(size_t offset, std::span<std::byte> out) const {
  GEIST_CHECK(offset <= size_ && out.size() <= size_ - offset);
  while (!out.empty()) {
    const ssize_t got = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    offset += static_cast<size_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
  return true;
}

void MappedFile::release(size_t offset, size_t size) const {
  GEIST_CHECK(offset <= size_ && size <= size_ - offset);
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = (offset + page - 1) / page * page;
  const size_t end = (offset + size) / page * page;
  if (begin < end) ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

Result<std::string> read_file(const std::string& path, size_t size_max) {
  const bool is_stdin = path == "-";
  const Descriptor file{is_stdin ? ::dup(STDIN_FILENO)
                                 : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  const std::string name = is_stdin ? "standard input" : path;
  if (file.fd < 0) return errno_error("cannot open", name);
  std::string contents;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = ::read(file.fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error("cannot read", name);
    if (got == 0) return contents;
    if (contents.size() + static_cast<size_t>(got) > size_max)
      return errorf("%s: larger than the %zu bytes that are accepted here", name.c_str(), size_max);
    contents.append(buffer, static_cast<size_t>(got));
  }
}

namespace {

// What path names behind symbolic links, which may dangle: that is where writing makes a file.
std::string behind_links(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path target = fs::canonical(path, error);
  if (!error) return target.string();
  fs::path at = path;
  constexpr int kLinksMax = 40;  // Linux follows as many
  for (int i = 0; i < kLinksMax && fs::is_symlink(at, error); ++i) {
    const fs::path next = fs::read_symlink(at, error);
    if (error) break;
    at = at.parent_path() / next;  // `next` itself when it is absolute
  }
  return at.string();
}

}  // namespace

std::string AtomicFile::temporary_name(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) return "";
  // A link stays and what it points to is replaced, on the same file system.
  return behind_links(path) + ".tmp." + std::to_string(::getpid());
}

Result<AtomicFile> AtomicFile::create(const std::string& path) {
  struct stat info {};
  const bool exists = ::stat(path.c_str(), &info) == 0;
  if (exists && S_ISDIR(info.st_mode))
    return errorf("%s: it is a folder; give the name of a file", path.c_str());
  std::string temporary = temporary_name(path);
  if (temporary.empty()) {
    std::FILE* device = std::fopen(path.c_str(), "wbe");
    if (device == nullptr) return errno_error("cannot open", path);
    return AtomicFile(path, std::move(temporary), device);
  }
  // Exclusively: a link that somebody has put there is not followed.
  ::unlink(temporary.c_str());
  std::FILE* file = std::fopen(temporary.c_str(), "wbxe");
  if (file == nullptr) return errno_error("cannot create", path);
  if (exists) ::fchmod(::fileno(file), info.st_mode & 0777);  // what was private stays private
  return AtomicFile(path, std::move(temporary), file);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      file_(std::exchange(other.file_, nullptr)),
      size_(other.size_) {}

AtomicFile::~AtomicFile() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Status AtomicFile::write(std::span<const std::byte> bytes) {
  GEIST_CHECK(file_ != nullptr);
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size())
    return errno_error("cannot write", path_);
  size_ += bytes.size();
  return {};
}

Status AtomicFile::commit() {
  GEIST_CHECK(file_ != nullptr);
  if (std::fflush(file_) != 0) return errno_error("cannot write", path_);
  if (!temporary_.empty() && ::fsync(::fileno(file_)) != 0)
    return errno_error("cannot write", path_);
  std::FILE* file = std::exchange(file_, nullptr);
  const bool closed = std::fclose(file) == 0;
  if (temporary_.empty()) return closed ? Status() : errno_error("cannot write", path_);
  const std::string target = temporary_.substr(0, temporary_.rfind(".tmp."));
  if (!closed || ::rename(temporary_.c_str(), target.c_str()) != 0) {
    const Error error = errno_error("cannot rename into place", path_);
    ::unlink(temporary_.c_str());
    return error;
  }
  sync_folder_of(target);
  return {};
}

void sync_folder_of(const std::string& path) {
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  const Descriptor directory{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (directory.fd >= 0) ::fsync(directory.fd);
}

Status write_file(const std::string& path, std::string_view contents) {
  GEIST_ASSIGN(AtomicFile file, AtomicFile::create(path));
  GEIST_TRY(file.write(contents));
  return file.commit();
}

Status refuse_overwriting(const std::string& out, std::span<const std::string> read) {
  namespace fs = std::filesystem;
  const auto id = file_id(out);
  if (!id) return {};  // a new file, or a device
  const auto refused = [&](const std::string& input) {
    return errorf("%s: this is %s, which is read here; write to another file", out.c_str(),
                  out == input ? "a file" : ("the same file as " + input).c_str());
  };
  for (const std::string& input : read) {
    if (file_id(input) == id) return refused(input);
    std::error_code failed;
    if (!fs::is_directory(input, failed)) continue;
    for (fs::recursive_directory_iterator entry(input, failed), end; !failed && entry != end;
         entry.increment(failed)) {
      if (entry->path().extension() != ".gguf" && file_id(entry->path().string()) == id)
        return refused(entry->path().string());
    }
  }
  return {};
}

}  // namespace geist
