#include "data/sequences.h"

#include <map>
#include <numeric>
#include <set>

#include "tests/data/toy_file.h"
#include "tests/support.h"

namespace rse {
namespace {

// Returns how many sequences each token of the file belongs to.
std::vector<int> coverage(const TokenFile& file, const SequenceSet& set) {
  std::vector<int> times(file.tokens());
  for (uint64_t index = 0; index < set.size(); ++index) {
    for (const Piece& piece : set.pieces(index)) {
      EXPECT_EQ(piece.begin, file.document_begin(piece.document) + piece.offset);
      EXPECT_LE(piece.offset + piece.length, file.document_length(piece.document));
      EXPECT_GT(piece.length, 0u);
      for (uint64_t i = 0; i < piece.length; ++i) ++times[piece.begin + i];
    }
  }
  return times;
}

class SequencesTest : public ToyFileTest {};

TEST_F(SequencesTest, PackedBlocksCoverTheStream) {
  const TokenFile& file = make({0, 7, 0, 0, 3, 25, 1, 0});  // 36 tokens
  const SequenceSet set(file, 8, Packing::kPacked, 1);
  ASSERT_EQ(set.size(), 4u);
  const std::vector<int> times = coverage(file, set);
  for (size_t token = 0; token < 36; ++token) EXPECT_EQ(times[token], token < 32 ? 1 : 0);
  const auto first = set.pieces(0);  // the whole of document 1 and the start of document 4
  ASSERT_EQ(first.size(), 2u);
  EXPECT_EQ(first[0].document, 1u);
  EXPECT_EQ(first[1].document, 4u);
  EXPECT_EQ(first[1].length, 1u);
  EXPECT_EQ(set.pieces(1)[0].offset, 1u);
}

TEST_F(SequencesTest, DocumentModeStaysInsideDocuments) {
  const TokenFile& file = make({0, 7, 20, 2, 0, 3, 16, 18});
  const SequenceSet set(file, 8, Packing::kDocument, 3);
  std::vector<uint64_t> lengths;
  for (uint64_t index = 0; index < set.size(); ++index) {
    ASSERT_EQ(set.pieces(index).size(), 1u);
    lengths.push_back(set.pieces(index)[0].length);
  }
  EXPECT_THAT(lengths, testing::ElementsAre(7, 8, 8, 4, 3, 8, 8, 8, 8));
  const std::vector<int> times = coverage(file, set);
  EXPECT_EQ(std::accumulate(times.begin(), times.end(), 0),
            62);  // 66 tokens without the 2-token document and the last tail
  EXPECT_EQ(*std::max_element(times.begin(), times.end()), 1);
}

TEST_F(SequencesTest, CorporaWithoutASequenceAreErrors) {
  const TokenFile& file = make({2, 0, 3});
  EXPECT_THAT([&] { SequenceSet(file, 6, Packing::kPacked, 1); }, ThrowsUserError("no packed sequence of 6"));
  EXPECT_THAT([&] { SequenceSet(file, 6, Packing::kDocument, 4); }, ThrowsUserError("has 4 tokens"));
  EXPECT_THAT([&] { SequenceSet(file, 0, Packing::kPacked, 1); }, ThrowsUserError("sequence length 0"));
  EXPECT_THAT([&] { SequenceSet(file, 6, Packing::kDocument, 7); }, ThrowsUserError("min_tokens 7"));
  EXPECT_THAT([&] { SequenceSet(file, 6, Packing::kDocument, 0); }, ThrowsUserError("min_tokens 0"));
}

TEST_F(SequencesTest, EveryEpochHasEverySequenceOnceInItsOwnOrder) {
  const SequenceSet set(make({500, 300, 203}), 4, Packing::kDocument, 1);
  ASSERT_EQ(set.size(), 251u);
  std::set<std::vector<uint64_t>> orders;
  for (uint64_t seed : {1, 2}) {
    for (uint64_t epoch = 0; epoch < 3; ++epoch) {
      std::vector<uint64_t> order;
      for (uint64_t position = 0; position < set.size(); ++position) {
        order.push_back(set.shuffled(seed, epoch, position));
      }
      orders.insert(order);
      std::sort(order.begin(), order.end());
      for (uint64_t i = 0; i < set.size(); ++i) ASSERT_EQ(order[i], i);
    }
  }
  EXPECT_EQ(orders.size(), 6u);
}

// One token of a batch, found by its place in the corpus.
struct Seen {
  int64_t input_id, target_id;  // target_id is -1 where there is no target
  bool operator==(const Seen&) const = default;
};

std::vector<Seen> tokens_of(const TokenBatch& batch) {
  std::vector<Seen> seen;
  for (int64_t id : batch.input_ids) seen.push_back({id, -1});
  for (size_t i = 0; i < batch.target_ids.size(); ++i) {
    seen[static_cast<size_t>(batch.target_positions[i])].target_id = batch.target_ids[i];
  }
  return seen;
}

TEST_F(SequencesTest, BatchesHoldTheFilesTokensAndTargets) {
  const TokenFile& file = make({0, 700, 2, 333, 90});
  for (Packing packing : {Packing::kPacked, Packing::kDocument}) {
    const SequenceSet set(file, 32, packing, 8);
    const TokenBatch batch = training_batch(file, set, {.probability = 0.5}, 3, 5, 9);
    ASSERT_EQ(batch.target_ids.size(), batch.target_positions.size());
    ASSERT_EQ(batch.target_ids.size(), batch.target_documents.size());
    EXPECT_TRUE(std::is_sorted(batch.target_positions.begin(), batch.target_positions.end()));
    std::vector<Piece> pieces;
    for (uint64_t position = 5; position < 14; ++position) {
      for (const Piece& piece : set.pieces(set.shuffled(3, 0, position))) pieces.push_back(piece);
    }
    ASSERT_EQ(batch.borders.size(), pieces.size() + 1);
    EXPECT_EQ(batch.borders.back(), batch.total());
    const std::vector<Seen> seen = tokens_of(batch);
    size_t target = 0;
    for (size_t p = 0; p < pieces.size(); ++p) {
      ASSERT_EQ(batch.borders[p + 1] - batch.borders[p], static_cast<int64_t>(pieces[p].length));
      for (uint64_t i = 0; i < pieces[p].length; ++i) {
        const int64_t token = file.token(pieces[p].begin + i);
        const Seen& here = seen[static_cast<size_t>(batch.borders[p]) + i];
        const MaskDraw drawn =
            DocumentMask({.probability = 0.5}, {.size = file.vocab_size()}, 3, 0, pieces[p].document)
                .draw(pieces[p].offset + i, token);
        EXPECT_EQ(here.input_id, drawn.input_id);
        EXPECT_EQ(here.target_id, drawn.target ? token : -1);
        if (drawn.target) {
          EXPECT_EQ(batch.target_documents[target++], static_cast<int64_t>(pieces[p].document));
        }
      }
    }
    EXPECT_EQ(target, batch.target_ids.size());
  }
}

// The stream of sequences is the same however it is cut into batches, across borders of epochs too.
TEST_F(SequencesTest, BatchShapeDoesNotMatter) {
  const TokenFile& file = make({100, 37, 64});
  const SequenceSet set(file, 16, Packing::kDocument, 1);
  const int64_t total = static_cast<int64_t>(3 * set.size());
  const std::vector<Seen> whole = tokens_of(training_batch(file, set, {}, 8, 0, total));
  for (int64_t count : {1, 5, 7}) {
    std::vector<Seen> joined;
    for (int64_t first = 0; first < total; first += count) {
      const auto part = tokens_of(
          training_batch(file, set, {}, 8, static_cast<uint64_t>(first), std::min(count, total - first)));
      joined.insert(joined.end(), part.begin(), part.end());
    }
    EXPECT_EQ(joined, whole);
  }
}

// The same token in the same epoch is masked alike, whatever the lengths of the sequences.
TEST_F(SequencesTest, MasksDoNotDependOnSequenceLengthOrPacking) {
  const TokenFile& file = make({64, 128, 64});
  auto by_token = [&](const SequenceSet& set, uint64_t epoch) {
    std::map<uint64_t, std::pair<int64_t, int64_t>> masked;
    const TokenBatch batch =
        training_batch(file, set, {}, 11, epoch * set.size(), static_cast<int64_t>(set.size()));
    const std::vector<Seen> seen = tokens_of(batch);
    size_t at = 0;
    for (uint64_t position = 0; position < set.size(); ++position) {
      for (const Piece& piece : set.pieces(set.shuffled(11, epoch, position))) {
        for (uint64_t i = 0; i < piece.length; ++i, ++at) {
          masked[piece.begin + i] = {seen[at].input_id, seen[at].target_id};
        }
      }
    }
    return masked;
  };
  const SequenceSet documents(file, 16, Packing::kDocument, 1), longer(file, 64, Packing::kDocument, 1),
      packed(file, 32, Packing::kPacked, 1);
  EXPECT_EQ(by_token(documents, 4), by_token(longer, 4));
  EXPECT_EQ(by_token(documents, 4), by_token(packed, 4));
  EXPECT_NE(by_token(documents, 4), by_token(documents, 5));
}

}  // namespace
}  // namespace rse
