#include "nn/memory_estimate.h"

#include <algorithm>

#include "core/check.h"
#include "core/logging.h"
#include "nn/mlm_loss.h"

namespace rse {
namespace {

constexpr double kFloat = 4;       // bytes of a float32, the dtype of weights and of the residual stream
constexpr double kStatistics = 8;  // bytes per row that a norm keeps: mean and 1 / standard deviation
constexpr double kBatch = 24;      // bytes per token or target: ids and positions, int64, and the loss's own
constexpr double kCublas = 32 << 20;  // workspace of cuBLAS on compute capability 9.0

struct Sizes {
  bool pre, geglu, dropout, bf16, cuda;
  double layers, tokens, targets, width, ffn_width, vocab, element;

  Sizes(const ModelConfig& model, const StepShape& shape)
      : pre(model.norm == NormPlacement::kPre),
        geglu(model.activation == Activation::kGeglu),
        dropout(model.dropout > 0),
        bf16(shape.batch.dtype == torch::kBFloat16),
        cuda(shape.batch.device.is_cuda()),
        layers(static_cast<double>(model.layers)),
        tokens(static_cast<double>(shape.batch.tokens())),
        targets(static_cast<double>(shape.targets)),
        width(static_cast<double>(model.width)),
        ffn_width(static_cast<double>(model.ffn_width)),
        vocab(static_cast<double>(model.vocab_size)),
        element(shape.batch.element()) {}

  double stream() const { return kFloat * tokens * width; }   // a tensor of the residual stream
  double matrix() const { return element * tokens * width; }  // one in the compute dtype
  double inner() const { return element * tokens * ffn_width; }
  double logits() const { return element * targets * vocab; }
};

// Elements of parameters: of one layer (all are alike), and of everything else.
struct Parameters {
  double all = 0;
  double attention = 0, ffn = 0;                    // of a layer, with biases and norms
  double attention_matrices = 0, ffn_matrices = 0;  // of a layer
  double head_matrices = 0;                         // the head's transform

  explicit Parameters(const EncoderImpl& encoder) {
    for (const auto& item : encoder.named_parameters()) {
      const std::string& name = item.key();
      const auto count = static_cast<double>(item.value().numel());
      const double in_matrix = item.value().dim() >= 2 ? count : 0;
      all += count;
      if (name.starts_with("head_")) head_matrices += in_matrix;
      if (!name.starts_with("layers.0.")) continue;
      const bool in_ffn = name.find(".ffn_") != std::string::npos;
      (in_ffn ? ffn : attention) += count;
      (in_ffn ? ffn_matrices : attention_matrices) += in_matrix;
    }
  }
  double layer() const { return attention + ffn; }
};

using Terms = std::vector<MemoryTerm>;

void add(Terms& terms, const char* name, double bytes) {
  if (bytes > 0) terms.push_back({name, bytes});
}

Terms with(Terms terms, const Terms& more) {
  terms.insert(terms.end(), more.begin(), more.end());
  return terms;
}

Terms times(Terms terms, double factor) {
  for (MemoryTerm& term : terms) term.bytes *= factor;
  return terms;
}

double weights_in_bf16(const Sizes& sizes, double matrices) {
  return sizes.bf16 ? sizes.element * matrices : 0;
}

// The attention branch of a layer, from the layer's input (pre) or to the sum after it (post).
Terms attention_terms(const Sizes& sizes, const Parameters& parameters, const AttentionMemory& attention) {
  Terms terms;
  add(terms, "residual stream at the attention's norm", sizes.stream());
  add(terms, "statistics of the attention's norm", kStatistics * sizes.tokens);
  add(terms, "input of query_key_value", sizes.matrix());
  terms = with(std::move(terms), attention.kept);
  add(terms, "dropout mask of the attention branch", sizes.dropout ? sizes.tokens * sizes.width : 0);
  add(terms, "attention's weights in bfloat16", weights_in_bf16(sizes, parameters.attention_matrices));
  return terms;
}

// The feed-forward branch but for what lies inside the network.
Terms outer_ffn_terms(const Sizes& sizes) {
  Terms terms;
  add(terms, "residual stream at the feed-forward network's norm", sizes.stream());
  add(terms, "statistics of the feed-forward network's norm", kStatistics * sizes.tokens);
  add(terms, "input of ffn_input", sizes.matrix());
  add(terms, "dropout mask of the feed-forward branch", sizes.dropout ? sizes.tokens * sizes.width : 0);
  return terms;
}

Terms inner_ffn_terms(const Sizes& sizes, const Parameters& parameters) {
  Terms terms;
  add(terms, sizes.geglu ? "gate and value of GeGLU" : "input of GELU",
      (sizes.geglu ? 2 : 1) * sizes.inner());
  add(terms, "GELU of the gate", sizes.geglu ? sizes.inner() : 0);
  add(terms, "input of ffn_output", sizes.inner());
  add(terms, "feed-forward network's weights in bfloat16", weights_in_bf16(sizes, parameters.ffn_matrices));
  return terms;
}

Terms layer_terms(const Sizes& sizes, Recompute recompute, const Terms& attention, const Terms& outer_ffn,
                  const Terms& inner_ffn) {
  switch (recompute) {
    case Recompute::kNone:
      return with(with(attention, outer_ffn), inner_ffn);
    case Recompute::kFfn:
      return with(attention, outer_ffn);
    case Recompute::kLayer:
      return {{"input of the layer", sizes.stream()}};
  }
  RSE_ASSERT(false, "recompute {}", static_cast<int>(recompute));
}

Terms embedding_terms(const Sizes& sizes, const ModelConfig& model) {
  Terms terms;
  add(terms, "batch", kBatch * (sizes.tokens + sizes.targets));
  if (model.embedding_norm) {
    add(terms, "input of the embedding's norm", sizes.stream() + kStatistics * sizes.tokens);
  }
  add(terms, "dropout mask of the embedding", sizes.dropout ? sizes.tokens * sizes.width : 0);
  return terms;
}

// Everything after the last layer, at the targets alone, without the logits.
Terms head_terms(const Sizes& sizes, const ModelConfig& model, const Parameters& parameters) {
  const double row = sizes.targets * sizes.width;
  Terms terms;
  if (sizes.pre) add(terms, "input of the final norm", kFloat * row + kStatistics * sizes.targets);
  if (model.head == HeadKind::kTransform) {
    // On a GPU, autocast widens the norm's input.
    add(terms, "head's transform",
        2 * sizes.element * row + (sizes.cuda ? kFloat : sizes.element) * row + kStatistics * sizes.targets);
  }
  add(terms, "input of the decoder", sizes.element * row);
  add(terms, "head's weights in bfloat16",
      weights_in_bf16(sizes, sizes.vocab * sizes.width + parameters.head_matrices));
  return terms;
}

// What the backward pass of the loss works in: the logits' gradient and a block of rows in float32. Forward
// takes two blocks where it widens the logits, and no gradient.
double loss_work(const Sizes& sizes) {
  const double rows =
      std::min(sizes.targets, static_cast<double>(nll_rows_per_block(static_cast<int64_t>(sizes.vocab))));
  const double block = kFloat * rows * sizes.vocab;
  return std::max(sizes.logits() + block, (sizes.bf16 ? 2 : 1) * block);
}

// Points of the backward pass. Gradients of parameters come as activations go, so the peak is at the loss, in
// the last layer, in the first, or at the embedding.
class Points {
 public:
  Points(const Sizes& sizes, const Parameters& parameters, const StepShape& shape, const Terms& embedding,
         const Terms& layer, const Terms& head)
      : sizes_(sizes),
        parameters_(parameters),
        recompute_(shape.recompute),
        accumulates_(shape.accumulates),
        embedding_(sum_of(embedding)),
        layer_(sum_of(layer)),
        head_(sum_of(head)) {}

  double at_loss() const { return standing(sizes_.layers) + head_ + sizes_.logits() + loss_work(sizes_); }
  // The gradient of the decoder's weight, in bfloat16 before it is widened.
  double at_decoder() const {
    const double table = sizes_.vocab * sizes_.width;
    const double own = sizes_.logits() + sizes_.element * table;
    const double widened = sizes_.bf16 ? (sizes_.element + kFloat) * table : 0;
    return standing(sizes_.layers) + head_ + std::max(own, widened);
  }
  // Where `below` layers come before the one that backward is in.
  double in_ffn(double below, double attention, double ffn) const {
    const double branch = sizes_.bf16 || sizes_.dropout ? sizes_.matrix() : 0;  // else that of the stream
    const double gradients = sizes_.stream() + branch + (sizes_.geglu ? 2 : 1) * sizes_.inner() +
                             sizes_.element * sizes_.width * sizes_.ffn_width;
    const double output =
        recompute_ == Recompute::kFfn ? sizes_.matrix() : 0;  // outlives the segment's graph
    return in_layer(below) + attention + ffn + gradients + output;
  }
  double in_attention(double below, double attention, const AttentionMemory& memory) const {
    const double gradients = sizes_.stream() + 4 * sizes_.matrix() + memory.workspace;
    const double outer =
        recompute_ == Recompute::kLayer ? sizes_.stream() : 0;  // gradient of the layer's output
    return in_layer(below) + made(parameters_.ffn) + attention + gradients + outer;
  }
  // Two gradients of the table of embeddings meet: the decoder's and the embedding's own.
  double at_embedding() const {
    const double table = kFloat * sizes_.vocab * sizes_.width;
    return standing(0) + made(parameters_.all) + (accumulates_ ? 2 : 1) * table + sizes_.stream();
  }

 private:
  // Gradients that stay in memory: with accumulation they were there before.
  double made(double elements) const { return accumulates_ ? 0 : kFloat * elements; }

  // What is there while `layers` layers still have to go backward.
  double standing(double layers) const {
    return (accumulates_ ? kFloat * parameters_.all : 0) + embedding_ + layers * layer_;
  }
  double in_layer(double below) const {
    const double after = sizes_.layers - 1 - below;
    const double rest = parameters_.all - sizes_.layers * parameters_.layer();
    double again = 0;
    if (recompute_ == Recompute::kLayer) {
      // The layer's output outlives the layer's own graph, and so does its input where no norm keeps that.
      again = (sizes_.pre || !sizes_.bf16 ? 1 : 2) * sizes_.stream();
    }
    return standing(below) + made(rest + after * parameters_.layer()) + again;
  }

  const Sizes& sizes_;
  const Parameters& parameters_;
  Recompute recompute_;
  bool accumulates_;
  double embedding_, layer_, head_;
};

}  // namespace

double MemoryEstimate::lasting_bytes() const {
  double lasting = 0;
  for (const MemoryTerm& term : state) {
    if (term.name != "gradients") lasting += term.bytes;  // they are part of the points
  }
  return lasting;
}

double MemoryEstimate::worst_point() const {
  double worst = 0;
  for (const MemoryTerm& point : points) worst = std::max(worst, point.bytes);
  return worst;
}

MemoryEstimate estimate_memory(const EncoderImpl& encoder, const StepShape& shape) {
  const ModelConfig& model = encoder.config();
  const Sizes sizes(model, shape);
  const Parameters parameters(encoder);
  const AttentionMemory memory = encoder.position().memory(shape.batch);
  const Terms attention = attention_terms(sizes, parameters, memory);
  const Terms outer_ffn = outer_ffn_terms(sizes), inner_ffn = inner_ffn_terms(sizes, parameters);
  const Terms layer = layer_terms(sizes, shape.recompute, attention, outer_ffn, inner_ffn);
  const Terms embedding = embedding_terms(sizes, model), head = head_terms(sizes, model, parameters);

  MemoryEstimate estimate;
  estimate.state = {{"weights", kFloat * parameters.all},
                    {"gradients", kFloat * parameters.all},
                    {"moments", 2 * kFloat * parameters.all}};
  estimate.kept = with(with(embedding, times(layer, sizes.layers)), head);
  add(estimate.kept, "logits", sizes.logits());
  const Points points(sizes, parameters, shape, embedding, layer, head);
  const double in_attention = sum_of(attention), in_ffn = sum_of(outer_ffn) + sum_of(inner_ffn);
  const double last = sizes.layers - 1;
  estimate.points = {{"at the loss", points.at_loss()},
                     {"at the decoder", points.at_decoder()},
                     {"in the last layer", std::max(points.in_ffn(last, in_attention, in_ffn),
                                                    points.in_attention(last, in_attention, memory))},
                     {"in the first layer", std::max(points.in_ffn(0, in_attention, in_ffn),
                                                     points.in_attention(0, in_attention, memory))},
                     {"at the embedding", points.at_embedding()},
                     {"at the update", kFloat * parameters.all}};
  if (sizes.cuda) estimate.library = kCublas;
  return estimate;
}

std::string describe_memory(const MemoryEstimate& estimate, const std::string& indent) {
  std::string text;
  const auto line = [&](std::string_view name, double bytes) {
    text += fmt::format("{}{:<52}{}\n", indent, name, format_bytes(bytes));
  };
  for (const MemoryTerm& term : estimate.state) line(term.name, term.bytes);
  for (const MemoryTerm& term : estimate.kept) line(fmt::format("kept: {}", term.name), term.bytes);
  line("kept for backward in all", estimate.kept_bytes());
  for (const MemoryTerm& point : estimate.points)
    line(fmt::format("above weights and moments {}", point.name), point.bytes);
  if (estimate.library > 0) line("workspace of cuBLAS", estimate.library);
  line("peak", estimate.peak_bytes());
  return text;
}

}  // namespace rse
