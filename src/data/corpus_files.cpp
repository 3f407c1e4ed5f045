#include "data/corpus_files.h"

#include <algorithm>
#include <array>

#include "core/check.h"
#include "core/file.h"
#include "data/line_reader.h"

namespace rse {
namespace {

enum Reason { kTaken, kHidden, kLinkToFolder, kOwn, kUnfinished, kNotText, kOtherEnding, kReasons };
constexpr const char* kReasonNames[kReasons] = {"",
                                                "hidden (the name begins with a dot)",
                                                "link to a folder",
                                                "manifest of an output",
                                                "temporary file of an output",
                                                "not text",
                                                "ending that is not one of a corpus file"};

// Whether rse-data gives its manifests such a name.
bool is_manifest_name(const std::string& name) {
  return name == "manifest.json" || name.ends_with(".manifest.json");
}

// Sorts a folder's entries into those that are taken and those that are left, for each reason.
class Folder {
 public:
  explicit Folder(const std::filesystem::path& path) : path_(path) {
    std::error_code error;
    std::filesystem::recursive_directory_iterator entry(path, error), end;
    while (!error && entry != end) {
      std::error_code unreadable;
      const bool folder = entry->is_directory(unreadable);
      const Reason reason = decide(*entry, folder);
      if (folder && reason != kTaken) entry.disable_recursion_pending();
      if (reason != kTaken) left_[reason].push_back(entry->path());
      if (!folder && reason == kTaken) files_.push_back({.path = entry->path(), .bytes = entry->file_size()});
      entry.increment(error);
    }
    if (error) throw_user_error("cannot read folder {}: {}", path.string(), error.message());
    std::sort(files_.begin(), files_.end(),
              [](const CorpusFile& a, const CorpusFile& b) { return a.path < b.path; });
    for (auto& paths : left_) std::sort(paths.begin(), paths.end());
  }

  void add_to(CorpusListing& listing) {
    if (files_.empty()) throw_user_error("{}: no corpus files in this folder{}", path_.string(), expected());
    for (CorpusFile& file : files_) listing.files.push_back(std::move(file));
    for (size_t reason = 0; reason < kReasons; ++reason) {
      if (left_[reason].empty()) continue;
      const auto same = [&](const LeftOut& left) { return left.reason == kReasonNames[reason]; };
      auto left = std::find_if(listing.left_out.begin(), listing.left_out.end(), same);
      if (left == listing.left_out.end()) {
        left = listing.left_out.insert(left, {.reason = kReasonNames[reason], .paths = {}});
      }
      left->paths.insert(left->paths.end(), left_[reason].begin(), left_[reason].end());
    }
  }

 private:
  static Reason decide(const std::filesystem::directory_entry& entry, bool folder) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with('.')) return kHidden;
    if (folder) return entry.is_symlink() ? kLinkToFolder : kTaken;
    if (is_manifest_name(name)) return kOwn;
    if (is_temporary_name(name)) return kUnfinished;
    const FileName described = describe_name(entry.path());
    std::error_code unreadable;
    const bool regular = entry.is_regular_file(unreadable);
    if (described.format != TextFormat::kAuto) {
      if (!regular) throw_user_error("{}: expected a file, or a link to one", entry.path().string());
      return kTaken;
    }
    if (!described.numbered || !regular) return kOtherEnding;
    return looks_like_text(LineReader(entry.path()).head()) ? kTaken : kNotText;
  }

  std::string expected() const {
    std::string text = ": expected .txt, .jsonl, .ndjson or .json, or these with .gz or .zst";
    for (size_t reason = 0; reason < kReasons; ++reason) {
      if (left_[reason].empty()) continue;
      text += fmt::format("; left out: {}: {}, as {}", kReasonNames[reason], left_[reason].size(),
                          left_[reason].front().string());
    }
    return text;
  }

  std::filesystem::path path_;
  std::vector<CorpusFile> files_;
  std::array<std::vector<std::filesystem::path>, kReasons> left_;
};

}  // namespace

CorpusListing list_corpus(const std::vector<std::filesystem::path>& inputs) {
  CorpusListing listing;
  for (const std::filesystem::path& input : inputs) {
    std::error_code error;
    const auto status = std::filesystem::status(input, error);
    if (status.type() == std::filesystem::file_type::not_found) {
      throw_user_error("{}: no such file or folder", input.string());
    }
    if (error) throw_user_error("cannot read {}: {}", input.string(), error.message());
    if (std::filesystem::is_character_file(status) || std::filesystem::is_block_file(status)) {
      throw_user_error("{}: a device: expected a file, a folder or a pipe", input.string());
    }
    if (std::filesystem::is_directory(status)) {
      Folder(input).add_to(listing);
      continue;
    }
    CorpusFile file{.path = input};
    if (std::filesystem::is_regular_file(status)) file.bytes = std::filesystem::file_size(input);
    listing.files.push_back(std::move(file));
  }
  return listing;
}

}  // namespace rse
