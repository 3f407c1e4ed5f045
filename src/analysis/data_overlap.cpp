#include "analysis/data_overlap.h"

#include <fmt/format.h>

#include "analysis/wording.h"

namespace rse {
namespace {

FileOverlap join(const FileOverlap& a, const FileOverlap& b) {
  return {a.same_content || b.same_content, a.same_file || b.same_file,
          a.documents ? a.documents : b.documents};
}

// Why the losses on what is shared with the training texts, or with the validation texts, are too low.
constexpr const char* kSeen = "the models have seen them, so their losses say nothing about held-out text";
constexpr const char* kChosen =
    "where a checkpoint or a setting was chosen by the validation NLL, their losses are too low for held-out "
    "text";

std::string warning(const FileOverlap& file, int64_t evaluated, const char* texts, const char* meaning) {
  if (file.same_content) {
    return fmt::format("The evaluated texts are the run's {} texts: {}.", texts, meaning);
  }
  if (file.documents.value_or(0) > 0) {
    return fmt::format("{} of {} are also among the run's {} texts, token by token: {}.",
                       wording::grouped(*file.documents), wording::count_of(evaluated, "evaluated document"),
                       texts, meaning);
  }
  if (file.same_file && !file.documents) {
    return fmt::format(
        "The evaluated file is the run's file of {} texts, with other content by now: what the run has seen "
        "of it "
        "is not known.",
        texts);
  }
  return "";
}

std::string found(const FileOverlap& file, const char* texts) {
  if (!file.documents) {
    return fmt::format("it is not known how many are in the {} texts, which are not at hand", texts);
  }
  return fmt::format("{} in the {} texts", wording::grouped(*file.documents), texts);
}

}  // namespace

DataOverlap join(const DataOverlap& a, const DataOverlap& b) {
  return {a.documents, join(a.train, b.train), join(a.valid, b.valid)};
}

std::vector<std::string> overlap_warnings(const DataOverlap& overlap) {
  std::vector<std::string> warnings;
  for (const std::string& text : {warning(overlap.train, overlap.documents, "training", kSeen),
                                  warning(overlap.valid, overlap.documents, "validation", kChosen)}) {
    if (!text.empty()) warnings.push_back(text);
  }
  return warnings;
}

std::string overlap_in_words(const DataOverlap& overlap) {
  return fmt::format("of {}, as a whole: {}; {}", wording::count_of(overlap.documents, "evaluated document"),
                     found(overlap.train, "training"), found(overlap.valid, "validation"));
}

}  // namespace rse
