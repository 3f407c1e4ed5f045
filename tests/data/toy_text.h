// Text of invented words, some of them frequent, which is enough to train a small tokenizer.
#pragma once

#include <string>

#include "core/random.h"
#include "data/tokenizer.h"
#include "data/tokenizer_trainer.h"

namespace rse {

// Returns `words` words, with a line feed after every twelve or so.
inline std::string toy_text(uint64_t seed, int words) {
  const char* syllables[] = {"ka", "to", "mi", "ren", "sol", "va", "du", "pe", "lin", "gor", "sha", "ut"};
  std::string text;
  for (int i = 0; i < words; ++i) {
    const auto bits = random_bits(seed, static_cast<uint64_t>(i));
    const uint32_t kind =
        uniform_below(bits[0], 40) * uniform_below(bits[1], 40) / 8;  // small numbers are frequent
    const auto word = random_bits(1, kind);
    for (uint32_t s = 0; s <= word[0] % 3; ++s) text += syllables[word[s + 1] % 12];
    text += uniform_below(bits[2], 12) == 0 ? ".\n" : " ";
  }
  return text + "\n";
}

inline std::string toy_model(const std::string& text, int64_t vocab_size = 330) {
  LineSample sample(1, size_t{1} << 20);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    sample.add(std::string_view(text).substr(begin, end - begin));
    begin = end == std::string::npos ? text.size() : end + 1;
  }
  return train_tokenizer(std::move(sample), {.vocab_size = vocab_size});
}

inline Tokenizer toy_tokenizer() { return Tokenizer(toy_model(toy_text(3, 5000)), "toy"); }

}  // namespace rse
