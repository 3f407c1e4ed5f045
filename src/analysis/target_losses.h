// What an evaluation at several lengths measures, target by target (src/eval/README.md section 2): the raw
// material of every table, interval and figure.
//
// Invariant: the targets are the same, in the same order, for every arm, seed, length and control; only the
// segmentation of the texts (and in the control the reach of attention) differs, so two LengthLosses pair by
// index.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rse {

// The fixed targets, in file order.
struct TargetPlaces {
  std::vector<int64_t> documents;  // [targets], document in the token file
  std::vector<int64_t> offsets;    // [targets], position in its piece; offset % length: in its window

  int64_t size() const { return static_cast<int64_t>(documents.size()); }
};

// One model at one length.
struct LengthLosses {
  int64_t length = 0;            // window that the texts are cut into, tokens
  int64_t attention_window = 0;  // 0: full attention; w: the control, attention only within |i - j| < w
  std::vector<float> nll;        // [targets], nats
  double seconds = 0;            // wall time of the forward passes

  bool control() const { return attention_window > 0; }
};

// One (arm, seed): full attention at each length, then the control at each length.
struct ReplicaLosses {
  std::string arm;
  uint64_t seed = 0;
  std::vector<LengthLosses> lengths;
};

// Distance of a target to the nearer edge of its window, in tokens: 0 at either end.
inline int64_t edge_distance(int64_t offset, int64_t length) {
  const int64_t position = offset % length;
  return position < length - 1 - position ? position : length - 1 - position;
}

}  // namespace rse
