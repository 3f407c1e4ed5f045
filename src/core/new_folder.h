// A folder for output, made and synced where it is missing.
//
// Order of calls: NewFolder folder(path) -> write into it -> folder.keep(). Without keep() the folders that
// were made, parents among them, are removed again where nothing lies in them.
#pragma once

#include <filesystem>
#include <vector>

namespace rse {

class NewFolder {
 public:
  // UserError naming the folder and the system's reason.
  explicit NewFolder(const std::filesystem::path& path);
  ~NewFolder();
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  void keep() { made_.clear(); }

 private:
  // False where a parent was there and is gone. UserError as the constructor.
  bool make(const std::filesystem::path& path, bool last_attempt);
  void remove_made();

  std::vector<std::filesystem::path> made_;  // outermost first
};

}  // namespace rse
