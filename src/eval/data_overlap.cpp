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

// XXH64 of the first `length` tokens of a document.
uint64_t hash_of(const TokenFile& file, uint64_t document, uint64_t length) {
  std::vector<int64_t> block(std::min<uint64_t>(length, uint64_t{1} << 14));
  Xxh64 hash;
  const uint64_t begin = file.document_begin(document);
  for (uint64_t at = 0; at < length; at += block.size()) {
    const uint64_t count = std::min<uint64_t>(block.size(), length - at);
    file.read(begin + at, count, block.data());
    hash.update(block.data(), count * sizeof(int64_t));
  }
  return hash.digest();
}

uint64_t hash_of_beginning(const TokenFile& file, uint64_t document) {
  return hash_of(file, document, std::min(file.document_length(document), kBeginning));
}

// The evaluated documents, by length, by beginning, and whole.
class Wanted {
 public:
  Wanted(const TokenFile& file, const std::set<int64_t>& documents) {
    for (const int64_t document : documents) {
      const auto index = static_cast<uint64_t>(document);
      const uint64_t length = file.document_length(index);
      beginnings_[length].insert(hash_of_beginning(file, index));
      ++whole_[{length, hash_of(file, index, length)}];
    }
  }

  // How many of them are among the documents of `other`.
  int64_t count_in(const TokenFile& other) const {
    std::set<Key> found;
    for (uint64_t document = 0; document < other.documents() && found.size() < whole_.size(); ++document) {
      const uint64_t length = other.document_length(document);
      const auto beginnings = beginnings_.find(length);
      if (beginnings == beginnings_.end()) continue;
      if (!beginnings->second.contains(hash_of_beginning(other, document))) continue;
      const Key key{length, hash_of(other, document, length)};
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

FileOverlap overlap_with(const std::string& path, const DataFingerprint& known, const TokenFile& file,
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
  return {static_cast<int64_t>(evaluated.size()), overlap_with(data.train, run.state.train, file, evaluated),
          overlap_with(data.valid, run.state.valid, file, evaluated)};
}

}  // namespace rse
