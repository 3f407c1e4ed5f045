// Keys of the position method `learned`: a trained table whose row p is added to the token at position p.
#pragma once

#include <cstdint>

#include "core/config_binder.h"

namespace rse {

enum class TableInit { kNormal, kSinusoidal };

// What a table of R rows gives a sequence of more than R tokens: an error; its last row from there on; row
// position mod R; or row position * (R - 1) / (length - 1), linear between rows.
enum class BeyondTable { kError, kClamp, kTile, kInterpolate };

struct LearnedPositionConfig {
  TableInit init = TableInit::kSinusoidal;  // a random start stays long on the unigram plateau
  int64_t max_positions = 512;
  BeyondTable beyond = BeyondTable::kError;
  // Not a key: rows that training reached, known once a model is evaluated; the others are never used. 0:
  // all.
  int64_t trained_positions = 0;
  bool operator==(const LearnedPositionConfig&) const = default;
  void bind(ConfigBinder& b);
};

}  // namespace rse
