#include "data/training_lines.h"

#include <string_view>

#include "core/random.h"
#include "data/visible_text.h"

namespace rse {
namespace {

constexpr std::string_view kReserved = "\xE2\x96\x85";  // U+2585
constexpr uint32_t kWordsPerCut = 16;                   // the mean

bool replace_reserved(std::string& line) {
  bool found = false;
  for (size_t i = line.find(kReserved); i != std::string::npos; i = line.find(kReserved, i)) {
    line.replace(i, kReserved.size(), 1, ' ');
    found = true;
  }
  return found;
}

// Cuts a line at some of its white space; each is a border with a probability of one in kWordsPerCut.
void cut(std::string_view line, uint64_t key, std::vector<std::string>& parts) {
  size_t begin = 0;
  uint64_t spaces = 0;
  const auto add = [&](std::string_view part) {
    if (has_visible_character(part)) parts.emplace_back(part);
  };
  for (size_t i = 0; i < line.size(); ++i) {
    const size_t bytes = white_space_bytes(line.substr(i));
    if (bytes == 0 || uniform_below(random_bits(key, spaces++)[0], kWordsPerCut) != 0) continue;
    add(line.substr(begin, i - begin));
    begin = i + bytes;
  }
  add(line.substr(begin));
}

}  // namespace

TrainingLines training_lines(std::vector<std::string> sample, uint64_t seed) {
  TrainingLines training;
  training.lines.reserve(sample.size());
  const uint64_t key = mix_key(seed, "ends of lines");
  for (size_t number = 0; number < sample.size(); ++number) {
    std::string& line = sample[number];
    if (replace_reserved(line)) ++training.reserved;
    if (line.size() > kLongestUncutLine) {
      cut(line, mix_key(key, number), training.lines);
      line = {};  // frees it, so that the sample is not twice in memory
    } else if (has_visible_character(line)) {
      training.lines.push_back(std::move(line));
    }
  }
  return training;
}

}  // namespace rse
