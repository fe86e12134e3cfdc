// Files: reading whole, mapping, and writing so that a crash leaves the old file or the new one,
// never a part. Every file Geist writes goes through AtomicFile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace geist {

// A read-only private mapping of a whole file. The bytes stay valid while the object lives.
// Another process that truncates a mapped file makes reads fault: Geist's own writers never do
// that, since they rename.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }
  // What tells this file from others and from itself before and after a change, whatever lies at
  // its path now: device, inode, size and both times, as text.
  const std::string& identity() const { return identity_; }

  // Copies bytes of the file without touching the mapping: for what is read once, cheaper than page
  // faults (on some virtual machines five times). False when they cannot be read or the file has
  // become shorter. Thread-safe.
  bool read(size_t offset, std::span<std::byte> out) const;

  // Tells the kernel that this range is no longer needed; it is read again from disk when touched.
  void release(size_t offset, size_t size) const;

 private:
  MappedFile(int fd, const std::byte* data, size_t size, std::string path, std::string identity)
      : fd_(fd), data_(data), size_(size), path_(std::move(path)), identity_(std::move(identity)) {}
  int fd_ = -1;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::string path_, identity_;
};

// Reads a whole file, or standard input for "-". Refuses more than size_max bytes.
Result<std::string> read_file(const std::string& path, size_t size_max = size_t{1} << 32);

// Writes to PATH.tmp.PID and renames onto PATH at commit(), after fsync of the file and its folder.
// Destruction without commit() removes the temporary file. A symbolic link stays: what it points to
// is replaced. A device or pipe (/dev/null, /dev/stdout) cannot be replaced and is written to as it
// is.
class AtomicFile {
 public:
  static Result<AtomicFile> create(const std::string& path);
  // Where a file for this path is written before commit(); empty for a device or pipe.
  static std::string temporary_name(const std::string& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  // Appends. A short write (full disk) is an error that names the path.
  Status write(std::span<const std::byte> bytes);
  Status write(std::string_view text) { return write(std::as_bytes(std::span(text))); }
  uint64_t size() const { return size_; }
  Status commit();

 private:
  AtomicFile(std::string path, std::string temporary, std::FILE* file)
      : path_(std::move(path)), temporary_(std::move(temporary)), file_(file) {}
  std::string path_, temporary_;
  std::FILE* file_ = nullptr;
  uint64_t size_ = 0;
};

// Makes a name that was just put into a folder survive a power cut. Best effort: some file systems
// cannot.
void sync_folder_of(const std::string& path);

Status write_file(const std::string& path, std::string_view contents);

// An error when writing to `out` would replace one of the files that the result is made from,
// whatever name each goes by: what counts is the file behind symbolic and hard links. A folder in
// `read` stands for all files in it but GGUF files, which nothing that reads a whole folder reads.
Status refuse_overwriting(const std::string& out, std::span<const std::string> read);

}  // namespace geist
