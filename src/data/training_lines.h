// Makes lines of text fit for SentencePiece's trainer.
//
// Two things it does would lose text. It skips every line that holds U+2585, which it reserves. And its first
// pieces are substrings that are followed by different characters: in a long line without punctuation a
// frequent word is always followed by a space, so that the word itself is no such substring and gets no piece.
// Lines therefore get U+2585 replaced by a space, and long ones get ends between their words, where a piece
// never reaches over. Invariant: the words, in their order, stay.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace rse {

// Lines of over so many bytes are cut; ends of shorter ones are frequent enough.
inline constexpr size_t kLongestUncutLine = 512;

struct TrainingLines {
  std::vector<std::string> lines;  // each has a visible character
  uint64_t reserved = 0;           // lines that held U+2585
};

// Cuts are drawn from (seed, number of the line).
TrainingLines training_lines(std::vector<std::string> sample, uint64_t seed);

}  // namespace rse
