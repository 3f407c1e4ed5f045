// Reads files whole, maps them read-only, and writes files that appear complete or not at all.
//
// Every function throws a UserError that names the path and the system's reason.
#pragma once

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace rse {

// Returns the file's bytes. A folder or an unreadable file is a UserError.
std::string read_file(const std::filesystem::path& path);

// Writes `content` to a temporary file beside `path`, syncs it and renames it over `path` (see AtomicFile).
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

// True for the name of a temporary file as AtomicFile makes it.
bool is_temporary_name(const std::string& name);

// Copies a regular file, or only its first `bytes` bytes (UserError where it is shorter), completely or not
// at all.
void copy_file_atomically(const std::filesystem::path& from, const std::filesystem::path& to,
                          std::optional<size_t> bytes = {});

// Flushes a directory's entries (after renames in it) to disk.
void sync_directory(const std::filesystem::path& directory);

// Removes a file, or a folder and everything in it (links are removed, not followed). The path need not
// exist. This does not use std::filesystem::remove_all, which crashes in programs that link LibTorch, because
// libtorch.so exports a copy of it that was built against another libstdc++.
void remove_tree(const std::filesystem::path& path);

// A file that is being written under a temporary name beside `path`. commit() syncs and renames it; without
// commit() the destructor removes the temporary file, so that nothing half-written stays. Where `path` is a
// link, the file that it points to is replaced, and the link stays. UserError where a device, a pipe or a
// socket is there.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t size);
  // Overwrites `size` bytes at `offset` (for a header that is filled in last). write() goes on at the end.
  void write_at(size_t offset, const void* data, size_t size);
  size_t position() const { return position_; }
  void commit();

 private:
  std::filesystem::path path_;    // as given, for messages
  std::filesystem::path target_;  // where it leads
  std::filesystem::path temporary_;
  std::FILE* file_ = nullptr;
  size_t position_ = 0;
};

// A read-only memory map of a whole file; empty files map to an empty range.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace rse
