// What the evaluated documents share with the texts that a run was trained on and validated on, in numbers and in
// words. Where they share something, the losses are not those of held-out text. No Torch.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rse {

// With one token file of the run.
struct FileOverlap {
  bool same_content = false;  // equal fingerprints: the same documents in the same order
  bool same_file = false;     // the file of that path, whatever it holds by now
  // How many of the evaluated documents are in it, equal token by token; none: not counted, because the file is not
  // where the run read it, or holds something else by now.
  std::optional<int64_t> documents;
};

struct DataOverlap {
  int64_t documents = 0;  // that were evaluated
  FileOverlap train, valid;
};

// What both say together, about the same evaluated documents and files of the same content.
DataOverlap join(const DataOverlap& a, const DataOverlap& b);

// A sentence for each file that shares something with the evaluated documents.
std::vector<std::string> overlap_warnings(const DataOverlap& overlap);

// What was looked for and what was found, for the log and the report: "3 of 9 evaluated documents are in the
// training texts, 0 in the validation texts".
std::string overlap_in_words(const DataOverlap& overlap);

}  // namespace rse
