#include "data/evaluation_windows.h"

#include <map>

#include "tests/data/toy_file.h"
#include "tests/support.h"

namespace rse {
namespace {

class EvaluationSetTest : public ToyFileTest {};

TEST_F(EvaluationSetTest, AllPiecesTrimDocuments) {
  const EvaluationSet set(make({100, 31, 0, 64, 33}), 32, 0);
  std::map<uint64_t, std::vector<uint64_t>> offsets;
  for (const Piece& piece : set.pieces()) offsets[piece.document].push_back(piece.offset);
  EXPECT_EQ(offsets, (std::map<uint64_t, std::vector<uint64_t>>{{0, {0, 32, 64}}, {3, {0, 32}}, {4, {0}}}));
}

TEST_F(EvaluationSetTest, ChosenPiecesSpreadOverDocuments) {
  const TokenFile& file = make({320, 32, 0, 320, 20, 320});
  for (int64_t wanted : {1, 2, 3, 4, 7, 16, 31, 500}) {
    const EvaluationSet set(file, 32, wanted);
    EXPECT_EQ(set.size(), std::min<int64_t>(wanted, 31));
    std::map<uint64_t, int> chosen;
    std::map<uint64_t, int> begins;
    for (const Piece& piece : set.pieces()) {
      ++chosen[piece.document];
      EXPECT_EQ(++begins[piece.begin], 1);
      EXPECT_EQ(piece.length, 32u);
    }
    if (wanted == 3) {
      EXPECT_EQ(chosen.size(), 3u);
    }
    if (wanted == 7) {
      EXPECT_EQ(chosen, (std::map<uint64_t, int>{{0, 2}, {1, 1}, {3, 2}, {5, 2}}));
    }
  }
}

TEST_F(EvaluationSetTest, ChosenPiecesSpreadInsideADocument) {
  const EvaluationSet set(make({320}), 32, 2);
  ASSERT_EQ(set.size(), 2);
  EXPECT_EQ(set.pieces()[0].offset, 64u);  // of ten places the middles of two halves: 2 and 7
  EXPECT_EQ(set.pieces()[1].offset, 224u);
}

TEST_F(EvaluationSetTest, FirstPiecesAreThoseOfTheFilesStart) {
  const TokenFile& file = make({100, 31, 0, 64, 33});
  const EvaluationSet all(file, 32, 0);
  for (int64_t wanted : {1, 3, 4, 6, 500}) {
    const EvaluationSet set(file, 32, wanted, PieceChoice::kFirst);
    ASSERT_EQ(set.size(), std::min<int64_t>(wanted, 6));
    for (size_t i = 0; i < set.pieces().size(); ++i) {
      EXPECT_EQ(set.pieces()[i].begin, all.pieces()[i].begin);
      EXPECT_EQ(set.pieces()[i].offset, all.pieces()[i].offset);
    }
  }
  EXPECT_EQ(EvaluationSet(file, 32, 0, PieceChoice::kFirst).size(), all.size());
}

TEST_F(EvaluationSetTest, TargetsAreTheSameAtEveryLength) {
  const EvaluationSet set(make({300, 200, 90}), 64, 6);
  const MaskingConfig masking;
  const TokenBatch longest = set.batch(masking, 5, 0, set.size(), 64);
  EXPECT_EQ(longest.borders.size(), 7u);
  EXPECT_GT(longest.targets(), 20);
  for (int64_t length : {1, 8, 16, 32}) {
    const TokenBatch batch = set.batch(masking, 5, 0, set.size(), length);
    EXPECT_EQ(batch.input_ids, longest.input_ids);
    EXPECT_EQ(batch.target_positions, longest.target_positions);
    EXPECT_EQ(batch.target_ids, longest.target_ids);
    EXPECT_EQ(batch.target_documents, longest.target_documents);
    ASSERT_EQ(batch.borders.size(), static_cast<size_t>(6 * 64 / length + 1));
    for (size_t i = 0; i + 1 < batch.borders.size(); ++i) {
      EXPECT_EQ(batch.borders[i + 1] - batch.borders[i], length);
    }
  }
}

TEST_F(EvaluationSetTest, TargetsDoNotDependOnPieceLengthOrBatch) {
  const TokenFile& file = make({256, 128});
  auto targets = [&](const EvaluationSet& set, int64_t at_once) {
    std::map<uint64_t, std::pair<int64_t, int64_t>> by_token;
    for (int64_t first = 0; first < set.size(); first += at_once) {
      const TokenBatch batch = set.batch({}, 5, first, std::min(at_once, set.size() - first), 16);
      const uint64_t begin =
          set.pieces()[static_cast<size_t>(first)].begin;  // documents here have no trimmed tail
      for (size_t i = 0; i < batch.target_ids.size(); ++i) {
        const auto position = static_cast<size_t>(batch.target_positions[i]);
        by_token[begin + position] = {batch.target_ids[i], batch.input_ids[position]};
      }
    }
    return by_token;
  };
  const EvaluationSet large(file, 128, 0), small(file, 32, 0);
  EXPECT_EQ(targets(large, 1), targets(small, 1));
  EXPECT_EQ(targets(small, 1), targets(small, 12));
}

TEST_F(EvaluationSetTest, Errors) {
  const TokenFile& file = make({100, 31});
  EXPECT_THAT([&] { EvaluationSet(file, 128, 0); }, ThrowsUserError("longest document has 100 tokens"));
  EXPECT_THAT([&] { EvaluationSet(file, 0, 0); }, ThrowsUserError("piece of 0 tokens"));
  EXPECT_THAT([&] { EvaluationSet(file, 32, -1); }, ThrowsUserError("-1 evaluation pieces"));
  const EvaluationSet set(file, 64, 0);
  EXPECT_THAT([&] { set.batch({}, 1, 0, 1, 48); }, ThrowsUserError("evaluation length 48"));
  EXPECT_THAT([&] { set.batch({}, 1, 0, 1, 0); }, ThrowsUserError("evaluation length 0"));
}

}  // namespace
}  // namespace rse
