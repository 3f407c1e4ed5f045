#include "core/file.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/mapped_ranges.h"

namespace rse {
namespace {

// Stands between a file's name and the number of the process that writes its temporary file.
constexpr const char* kTemporaryMark = ".tmp.";

[[noreturn]] void fail(const char* action, const std::filesystem::path& path) {
  const int code = errno;
  throw_user_error("cannot {} {}: {}", action, path.string(), std::strerror(code));
}

// The file that `path` names once links are followed; it need not exist. Where something else than a file is
// there, a rename would replace it (as root even /dev/null), so that is refused.
std::filesystem::path target_of(const std::filesystem::path& path) {
  constexpr int kMostLinks = 40;
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
    throw_user_error("cannot write {}: not a regular file", path.string());
  }
  std::filesystem::path target = path;
  for (int links = 0; ::lstat(target.c_str(), &status) == 0 && S_ISLNK(status.st_mode); ++links) {
    if (links == kMostLinks) {
      errno = ELOOP;
      fail("write", path);
    }
    char buffer[PATH_MAX];
    const ssize_t bytes = ::readlink(target.c_str(), buffer, sizeof buffer);
    if (bytes < 0) fail("write", path);
    target = target.parent_path() / std::string(buffer, static_cast<size_t>(bytes));
  }
  return target;
}

}  // namespace

std::string read_file(const std::filesystem::path& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) fail("open", path);
  struct stat status {};
  if (::fstat(::fileno(file), &status) == 0 && (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode))) {
    std::fclose(file);
    throw_user_error("cannot read {}: a device: expected a file", path.string());
  }
  std::string content;
  char buffer[1 << 16];
  size_t got = 0;
  while ((got = std::fread(buffer, 1, sizeof buffer, file)) > 0) content.append(buffer, got);
  const bool failed = std::ferror(file) != 0;
  const int code = errno;
  std::fclose(file);
  errno = code;
  if (failed) fail("read", path);
  return content;
}

void write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content.data(), content.size());
  file.commit();
}

bool is_temporary_name(const std::string& name) {
  const size_t mark = name.rfind(kTemporaryMark);
  if (mark == std::string::npos) return false;
  const std::string process = name.substr(mark + std::strlen(kTemporaryMark));
  return !process.empty() && process.find_first_not_of("0123456789") == std::string::npos;
}

void copy_file_atomically(const std::filesystem::path& from, const std::filesystem::path& to,
                          std::optional<size_t> bytes) {
  const MappedFile source(from);
  const size_t size = bytes.value_or(source.size());
  if (source.size() < size) {
    throw_user_error("{}: {} bytes, expected at least {}", from.string(), source.size(), size);
  }
  AtomicFile target(to);
  target.write(source.data(), size);
  target.commit();
}

void sync_directory(const std::filesystem::path& directory) {
  const std::filesystem::path target = directory.empty() ? "." : directory;
  const int descriptor = ::open(target.c_str(), O_RDONLY | O_DIRECTORY);
  if (descriptor < 0) fail("open", target);
  const int result = ::fsync(descriptor);
  const int code = errno;
  ::close(descriptor);
  errno = code;
  if (result != 0) fail("sync", target);
}

void remove_tree(const std::filesystem::path& path) {
  constexpr int kOpenFolders = 16;
  const auto remove_entry = [](const char* entry, const struct stat*, int, struct FTW*) {
    return std::remove(entry);
  };
  if (::nftw(path.c_str(), remove_entry, kOpenFolders, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT) {
    fail("remove", path);
  }
}

AtomicFile::AtomicFile(std::filesystem::path path)
    : path_(std::move(path)),
      target_(target_of(path_)),
      temporary_(target_.string() + fmt::format("{}{}", kTemporaryMark, ::getpid())) {
  file_ = std::fopen(temporary_.c_str(), "wb");
  if (file_ == nullptr) fail("write", path_);
}

AtomicFile::~AtomicFile() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t size) {
  if (size > 0 && std::fwrite(data, 1, size, file_) != size) fail("write", path_);
  position_ += size;
}

void AtomicFile::write_at(size_t offset, const void* data, size_t size) {
  RSE_ASSERT(offset + size <= position_, "write_at({}, {}) beyond the end {}", offset, size, position_);
  if (std::fseek(file_, static_cast<long>(offset), SEEK_SET) != 0) fail("write", path_);
  if (std::fwrite(data, 1, size, file_) != size) fail("write", path_);
  if (std::fseek(file_, 0, SEEK_END) != 0) fail("write", path_);
}

void AtomicFile::commit() {
  if (std::fflush(file_) != 0 || ::fsync(::fileno(file_)) != 0) fail("write", path_);
  std::FILE* file = std::exchange(file_, nullptr);
  if (std::fclose(file) != 0 || std::rename(temporary_.c_str(), target_.c_str()) != 0) {
    const int code = errno;
    ::unlink(temporary_.c_str());
    errno = code;
    fail("write", path_);
  }
  sync_directory(target_.parent_path());
}

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_NONBLOCK);  // a pipe is refused, not waited for
  if (descriptor < 0) fail("open", path);
  struct stat status {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    throw_user_error("cannot map {}: not a regular file", path.string());
  }
  size_ = static_cast<size_t>(status.st_size);
  if (size_ > 0) {
    void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    const int code = errno;
    ::close(descriptor);
    errno = code;
    if (address == MAP_FAILED) fail("map", path);
    data_ = static_cast<const std::byte*>(address);
    note_mapped_range(data_, size_, path_);
  } else {
    ::close(descriptor);
  }
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  forget_mapped_range(data_);
  ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace rse
