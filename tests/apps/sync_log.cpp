// A library to preload (LD_PRELOAD) that writes down what a program makes durable: fsync, rename and removal
// below the folder RSE_SYNC_ROOT, and what is said on the terminal. durability_test.cpp reads the log.
//
// Every line of the file RSE_SYNC_LOG is one event, whose fields are separated by tabs:
//   sync    INODE PATH STATE   fsync or fdatasync of a file or folder, which is in this state
//   before  INODE PATH STATE   a file or folder that the next rename moves, in its state just before
//   rename  INODE FROM TO
//   remove  INODE PATH
//   say     0 TEXT             on stdout or stderr, without ends of lines
//   end     INODE PATH STATE   everything that is there when the program ends
// A state is a file's size and hash, or the names and inodes in a folder, so that whatever was written since the
// last sync shows as a difference, by whichever call it was written. Paths are relative to RSE_SYNC_ROOT. Calls
// that fail are no events. Invariant: errno and results are those of the call itself.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string>
#include <vector>

namespace {

template <typename Function>
Function real(const char* name, Function) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

// The path relative to RSE_SYNC_ROOT, "." for the folder itself; empty where it lies outside.
std::string below_root(const std::string& path) {
  const char* root = getenv("RSE_SYNC_ROOT");
  if (root == nullptr) return "";
  const std::string folder = root;
  if (path == folder) return ".";
  return path.compare(0, folder.size() + 1, folder + "/") == 0 ? path.substr(folder.size() + 1) : "";
}

// The path that an argument of a call means. Its folder exists; the last part is no link to follow.
std::string absolute(const char* path) {
  std::string text = path;
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  const size_t slash = text.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : text.substr(0, slash + 1);
  char resolved[PATH_MAX];
  if (realpath(folder.c_str(), resolved) == nullptr) return "";
  return std::string(resolved) + "/" + (slash == std::string::npos ? text : text.substr(slash + 1));
}

std::string path_of(int descriptor) {
  char target[PATH_MAX];
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t size = readlink(link.c_str(), target, sizeof target);
  return size < 0 ? "" : std::string(target, static_cast<size_t>(size));
}

// Names without "." and "..", in order.
std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  DIR* open = opendir(folder.c_str());
  if (open == nullptr) return names;
  while (const dirent* entry = readdir(open)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  closedir(open);
  std::sort(names.begin(), names.end());
  return names;
}

uint64_t inode_of(const std::string& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0 ? static_cast<uint64_t>(status.st_ino) : 0;
}

// Bytes and FNV-1a hash of a file.
std::string file_state(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return "unreadable";
  uint64_t hash = 14695981039346656037u, size = 0;
  unsigned char buffer[1 << 14];
  for (ssize_t got = 0; (got = read(descriptor, buffer, sizeof buffer)) > 0;) {
    for (ssize_t i = 0; i < got; ++i) hash = (hash ^ buffer[i]) * 1099511628211u;
    size += static_cast<uint64_t>(got);
  }
  close(descriptor);
  return std::to_string(size) + ":" + std::to_string(hash);
}

std::string state_of(const std::string& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) return "missing";
  if (S_ISREG(status.st_mode)) return file_state(path);
  std::string names;
  for (const std::string& name : names_in(path)) {
    names += name + ":" + std::to_string(inode_of(path + "/" + name)) + ",";
  }
  return names;
}

void write_event(const char* kind, uint64_t inode, const std::string& first, const std::string& second) {
  const char* log = getenv("RSE_SYNC_LOG");
  if (log == nullptr) return;
  const std::string line =
      std::string(kind) + "\t" + std::to_string(inode) + "\t" + first + "\t" + second + "\n";
  const int descriptor = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor < 0 || syscall(SYS_write, descriptor, line.data(), line.size()) < 0) abort();
  close(descriptor);
}

void write_states(const char* kind, const std::string& path) {
  write_event(kind, inode_of(path), below_root(path), state_of(path));
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) return;
  for (const std::string& name : names_in(path)) write_states(kind, path + "/" + name);
}

int logged_sync(int descriptor, int result) {
  const int code = errno;
  const std::string path = path_of(descriptor);
  if (result == 0 && !below_root(path).empty()) {
    write_event("sync", inode_of(path), below_root(path), state_of(path));
  }
  errno = code;
  return result;
}

// call() renames `from`.
template <typename Call>
int logged_rename(const char* from, const char* to, Call call) {
  const std::string source = absolute(from), target = absolute(to);
  const uint64_t inode = inode_of(source);
  const bool watched = !below_root(source).empty() && !below_root(target).empty();
  if (watched) write_states("before", source);
  const int result = call();
  const int code = errno;
  if (watched && result == 0) write_event("rename", inode, below_root(source), below_root(target));
  errno = code;
  return result;
}

template <typename Call>
int logged_removal(const char* path, Call call) {
  const std::string target = absolute(path);
  const uint64_t inode = inode_of(target);
  const int result = call();
  const int code = errno;
  if (result == 0 && !below_root(target).empty()) write_event("remove", inode, below_root(target), "");
  errno = code;
  return result;
}

}  // namespace

__attribute__((destructor)) static void write_end() {
  const char* root = getenv("RSE_SYNC_ROOT");
  if (root != nullptr) write_states("end", root);
}

#define RSE_PRELOADED extern "C" __attribute__((visibility("default")))

RSE_PRELOADED int fsync(int descriptor) { return logged_sync(descriptor, real("fsync", &fsync)(descriptor)); }

RSE_PRELOADED int fdatasync(int descriptor) {
  return logged_sync(descriptor, real("fdatasync", &fdatasync)(descriptor));
}

RSE_PRELOADED int rename(const char* from, const char* to) noexcept {
  return logged_rename(from, to, [&] { return real("rename", &rename)(from, to); });
}

RSE_PRELOADED int renameat(int from_folder, const char* from, int to_folder, const char* to) noexcept {
  return logged_rename(from, to,
                       [&] { return real("renameat", &renameat)(from_folder, from, to_folder, to); });
}

RSE_PRELOADED int renameat2(int from_folder, const char* from, int to_folder, const char* to,
                            unsigned flags) noexcept {
  return logged_rename(
      from, to, [&] { return real("renameat2", &renameat2)(from_folder, from, to_folder, to, flags); });
}

RSE_PRELOADED int remove(const char* path) noexcept {
  return logged_removal(path, [&] { return real("remove", &remove)(path); });
}

RSE_PRELOADED int unlink(const char* path) noexcept {
  return logged_removal(path, [&] { return real("unlink", &unlink)(path); });
}

RSE_PRELOADED int rmdir(const char* path) noexcept {
  return logged_removal(path, [&] { return real("rmdir", &rmdir)(path); });
}

RSE_PRELOADED size_t fwrite(const void* data, size_t size, size_t count, FILE* file) {
  if (fileno(file) == STDOUT_FILENO || fileno(file) == STDERR_FILENO) {
    std::string text(static_cast<const char*>(data), size * count);
    std::replace(text.begin(), text.end(), '\n', ' ');
    std::replace(text.begin(), text.end(), '\t', ' ');
    write_event("say", 0, text, "");
  }
  return real("fwrite", &fwrite)(data, size, count, file);
}
