// What a program made durable, as sync_log.cpp wrote it down, and the rules that it must keep.
//
// A file is durable once it was synced in its last state, and every folder on the way to it was synced with
// the entry in it. Rules: what a rename moves is durable before it, but for its own entry; the folder that the
// new name is in is synced after it, before anything is said.
#pragma once

#include <cstdint>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

namespace rse {

struct SyncEvent {
  std::string kind;  // sync, before, rename, remove, say, end (sync_log.cpp)
  uint64_t inode = 0;
  std::string path;    // of say: the text
  std::string detail;  // state, or the new name
};

inline std::vector<SyncEvent> read_sync_events(const std::string& text) {
  std::vector<SyncEvent> events;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    SyncEvent event;
    std::string inode;
    std::getline(fields, event.kind, '\t');
    std::getline(fields, inode, '\t');
    std::getline(fields, event.path, '\t');
    std::getline(fields, event.detail, '\t');
    event.inode = std::stoull(inode);
    events.push_back(event);
  }
  return events;
}

class SyncRules {
 public:
  // The events of one program, or of several that ran one after the other.
  explicit SyncRules(std::vector<SyncEvent> events) : events_(std::move(events)) {
    for (size_t i = 0; i < events_.size(); ++i) {
      if (events_[i].kind == "end" && events_[i].path == ".") end_ = i;
    }
  }
  const std::vector<SyncEvent>& events() const { return events_; }

  // One sentence for each rename that came before the sync of something that it moved, or that was not synced
  // itself before the next word to the user.
  std::vector<std::string> broken_renames() const {
    std::vector<std::string> broken;
    size_t moved = 0;  // the first of the "before" events of the next rename
    for (size_t i = 0; i < events_.size(); ++i) {
      const SyncEvent& event = events_[i];
      if (event.kind != "before") moved = event.kind == "rename" ? moved : i + 1;
      if (event.kind != "rename") continue;
      for (size_t k = moved; k < i; ++k) {
        const SyncEvent* last = last_sync(events_[k].inode, i);
        if (last == nullptr) broken.push_back(events_[k].path + " is renamed and was never synced");
        if (last != nullptr && last->detail != events_[k].detail)
          broken.push_back(events_[k].path + " is renamed and was changed after its sync");
      }
      if (!entry_synced(i)) broken.push_back(event.detail + ": its folder is not synced after the rename");
      moved = i + 1;
    }
    return broken;
  }

  // One sentence for each part of `path`, a file, that would be lost if the power failed at the end.
  std::vector<std::string> lost(const std::string& path) const {
    const size_t end = find("end", path, end_);
    if (end == events_.size()) return {path + " is not there"};
    std::vector<std::string> lost;
    const SyncEvent* last = last_sync(events_[end].inode, end_);
    if (last == nullptr || last->detail != events_[end].detail)
      lost.push_back(path + " is not synced as it is");
    for (std::filesystem::path entry = path; !entry.empty(); entry = entry.parent_path()) {
      const std::string folder = entry.has_parent_path() ? entry.parent_path().string() : ".";
      const SyncEvent* synced = last_sync(events_[find("end", folder, end_)].inode, end_);
      if (synced == nullptr || !holds(*synced, entry.filename(), events_[find("end", entry, end_)].inode)) {
        lost.push_back(folder + " is not synced with " + entry.filename().string() + " in it");
      }
    }
    return lost;
  }

  // The files that are there at the end.
  std::vector<std::string> files() const {
    std::vector<std::string> files;
    for (size_t i = end_; i < events_.size(); ++i) {
      const SyncEvent& event = events_[i];
      const bool file =
          event.detail.find(',') == std::string::npos && event.detail.find(':') != std::string::npos;
      if (event.kind == "end" && file) files.push_back(event.path);
    }
    return files;
  }

  // The index of the first event from `from` on of this kind and path; the number of events where there is
  // none.
  size_t find(const std::string& kind, const std::string& path, size_t from = 0) const {
    for (size_t i = from; i < events_.size(); ++i) {
      if (events_[i].kind == kind && events_[i].path == path) return i;
    }
    return events_.size();
  }

  // The last sync of an inode before event `end`.
  const SyncEvent* last_sync(uint64_t inode, size_t end) const {
    for (size_t i = end; i-- > 0;) {
      if (events_[i].kind == "sync" && events_[i].inode == inode) return &events_[i];
    }
    return nullptr;
  }

  // Whether a synced folder held this entry.
  static bool holds(const SyncEvent& sync, const std::string& name, uint64_t inode) {
    const std::string entry = name + ":" + std::to_string(inode) + ",";
    return ("," + sync.detail).find("," + entry) != std::string::npos;
  }

 private:
  // Whether the folder of the new name is synced after rename `index` and before anything is said.
  bool entry_synced(size_t index) const {
    const std::filesystem::path target = events_[index].detail;
    const std::string folder = target.has_parent_path() ? target.parent_path().string() : ".";
    for (size_t i = index + 1; i < events_.size() && events_[i].kind != "say"; ++i) {
      if (events_[i].kind == "sync" && events_[i].path == folder &&
          holds(events_[i], target.filename(), events_[index].inode)) {
        return true;
      }
    }
    return false;
  }

  std::vector<SyncEvent> events_;
  size_t end_ = 0;  // the first event of the last end
};

}  // namespace rse
