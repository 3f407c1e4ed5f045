#include "eval/data_overlap.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "core/check.h"
#include "core/hash.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kBeginning = 16;  // tokens

// The text of a document, without the marks of its borders, which not every token file has.
struct Text {
  uint64_t begin = 0, length = 0;  // tokens
};

Text text_of(const TokenFile& file, uint64_t document) {
  Text text{file.document_begin(document), file.document_length(document)};
  int64_t id = 0;
  if (text.length > 0) file.read(text.begin, 1, &id);
  if (text.length > 0 && id == kClsId) text = {text.begin + 1, text.length - 1};
  if (text.length > 0) file.read(text.begin + text.length - 1, 1, &id);
  if (text.length > 0 && id == kSepId) --text.length;
  return text;
}

// XXH64 of the first tokens of a text, at most `length`.
uint64_t hash_of(const TokenFile& file, const Text& text, uint64_t length) {
  length = std::min(length, text.length);
  std::vector<int64_t> block(std::min<uint64_t>(length, uint64_t{1} << 14));
  Xxh64 hash;
  for (uint64_t at = 0; at < length; at += block.size()) {
    const uint64_t count = std::min<uint64_t>(block.size(), length - at);
    file.read(text.begin + at, count, block.data());
    hash.update(block.data(), count * sizeof(int64_t));
  }
  return hash.digest();
}

// The evaluated documents, by length, by beginning, and whole.
class Wanted {
 public:
  Wanted(const TokenFile& file, const std::set<int64_t>& documents) {
    for (const int64_t document : documents) {
      const Text text = text_of(file, static_cast<uint64_t>(document));
      beginnings_[text.length].insert(hash_of(file, text, kBeginning));
      ++whole_[{text.length, hash_of(file, text, text.length)}];
    }
  }

  // How many of them are among the documents of `other`.
  int64_t count_in(const TokenFile& other) const {
    std::set<Key> found;
    for (uint64_t document = 0; document < other.documents() && found.size() < whole_.size(); ++document) {
      const Text text = text_of(other, document);
      const auto beginnings = beginnings_.find(text.length);
      if (beginnings == beginnings_.end()) continue;
      if (!beginnings->second.contains(hash_of(other, text, kBeginning))) continue;
      const Key key{text.length, hash_of(other, text, text.length)};
      if (whole_.contains(key)) found.insert(key);
    }
    int64_t count = 0;
    for (const Key& key : found) count += whole_.at(key);
    return count;
  }

 private:
  using Key = std::pair<uint64_t, uint64_t>;  // length, hash
  std::unordered_map<uint64_t, std::unordered_set<uint64_t>> beginnings_;
  std::map<Key, int64_t> whole_;  // how many evaluated documents are so
};

// The run's token file. A relative path began in the folder that rse-train was called from, which may be another one
// than this program's; most often it holds the run, so the folders around the run are tried too.
fs::path find_token_file(const std::string& path, const fs::path& run_folder) {
  std::error_code missing;
  if (fs::path(path).is_absolute() || fs::exists(path, missing)) return path;
  for (fs::path folder = fs::absolute(run_folder, missing); folder != folder.root_path();
       folder = folder.parent_path()) {
    if (fs::exists(folder / path, missing)) return folder / path;
  }
  return path;
}

FileOverlap overlap_with(const fs::path& path, const DataFingerprint& known, const TokenFile& file,
                         const std::set<int64_t>& documents) {
  FileOverlap overlap;
  std::error_code missing;
  overlap.same_file = fs::equivalent(path, file.path(), missing);
  overlap.same_content = file.fingerprint() == known.fingerprint;
  if (overlap.same_content) {
    overlap.documents = static_cast<int64_t>(documents.size());
  } else if (fs::is_regular_file(path, missing)) {
    try {
      const TokenFile other(path);
      if (other.fingerprint() == known.fingerprint)
        overlap.documents = Wanted(file, documents).count_in(other);
    } catch (const UserError& error) {  // no reason not to evaluate
      spdlog::warn("{}: shared documents cannot be counted", error.what());
    }
  }
  return overlap;
}

}  // namespace

DataOverlap find_overlap(const TrainedRun& run, const TokenFile& file,
                         const std::vector<int64_t>& documents) {
  const std::set<int64_t> evaluated(documents.begin(), documents.end());
  const DataConfig& data = run.config.base.data;
  return {static_cast<int64_t>(evaluated.size()),
          overlap_with(find_token_file(data.train, run.folder), run.state.train, file, evaluated),
          overlap_with(find_token_file(data.valid, run.folder), run.state.valid, file, evaluated)};
}

}  // namespace rse
