#include "analysis/terminal_summary.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "analysis/headlines.h"
#include "analysis/wording.h"

namespace rse {
namespace {

using Lines = std::vector<std::string>;

constexpr size_t kCell = 9;          // columns of one number with the space before it
constexpr size_t kLongestName = 28;  // a longer name is cut; the sentences and the report have it whole

// Breaks a text at spaces. A word that is longer than a line has one of its own.
Lines wrapped(const std::string& text) {
  Lines lines;
  std::string line;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string_view word = std::string_view(text).substr(begin, end - begin);
    if (!line.empty() && line.size() + 1 + word.size() > kSummaryColumns) {
      lines.push_back(std::move(line));
      line.clear();
    }
    if (!line.empty()) line += ' ';
    line += word;
    begin = end + 1;
  }
  if (!line.empty()) lines.push_back(std::move(line));
  return lines;
}

void append(Lines& lines, Lines more) {
  for (std::string& line : more) lines.push_back(std::move(line));
}

std::string short_name(const std::string& name) {
  return name.size() <= kLongestName ? name : name.substr(0, kLongestName - 3) + "...";
}

// The lengths of the table's columns: all, or as few as fit.
std::vector<int64_t> shown_lengths(const Analysis& analysis, size_t name_width) {
  std::vector<int64_t> all;
  for (const LengthResult& row : analysis.arms.front().lengths) {
    if (!row.control()) all.push_back(row.length);
  }
  const size_t room = std::max<size_t>(2, (kSummaryColumns - name_width) / kCell);
  std::vector<int64_t> shown = all;
  for (int64_t base = 2; shown.size() > room; base *= 2) {
    shown.clear();
    for (const int64_t length : all) {
      int64_t power = analysis.trained_length;
      while (power < length) power *= base;
      if (power == length || length == all.back()) shown.push_back(length);
    }
    if (base > all.back()) break;  // the trained length and the longest are left
  }
  return shown;
}

std::string table_row(const std::string& name, size_t width, const Lines& cells) {
  std::string line = fmt::format("{:<{}}", name, width);
  for (const std::string& cell : cells) line += fmt::format("{:>{}}", cell, kCell);
  return line;
}

std::string table_row(const ArmResult& arm, bool control, size_t width, const std::vector<int64_t>& lengths) {
  Lines cells;
  for (const int64_t length : lengths) {
    const LengthResult* row = arm.at(length, control);
    cells.push_back(row == nullptr ? "" : fmt::format("{:.4f}", row->nll.mean));
  }
  return table_row(control ? "  control" : short_name(arm.arm), width, cells);
}

std::string caption(const Analysis& analysis) {
  size_t fewest = analysis.arms.front().seeds.size(), most = fewest;
  for (const ArmResult& arm : analysis.arms) {
    fewest = std::min(fewest, arm.seeds.size());
    most = std::max(most, arm.seeds.size());
  }
  const std::string seeds = fewest == most ? wording::count_of(static_cast<int64_t>(most), "seed")
                                           : fmt::format("{} to {} seeds", fewest, most);
  return fmt::format("Mean NLL in nats per target over {}; {} in {}; lower is better.", seeds,
                     wording::count_of(analysis.targets, "target"),
                     wording::count_of(analysis.documents, "document"));
}

// The table with at most `most_rows` rows of arms, and what the report adds to it.
Lines table(const Analysis& analysis, bool with_control, size_t most_rows) {
  size_t width = std::string_view("  control").size();
  for (const ArmResult& arm : analysis.arms) width = std::max(width, short_name(arm.arm).size());
  const std::vector<int64_t> lengths = shown_lengths(analysis, width);
  const bool has_control =
      std::any_of(analysis.arms.front().lengths.begin(), analysis.arms.front().lengths.end(),
                  [](const LengthResult& row) { return row.control(); });
  Lines heads;
  for (const int64_t length : lengths) heads.push_back(wording::grouped(length));
  Lines lines = {caption(analysis), table_row("tokens", width, heads)};
  size_t arms = 0;
  for (const ArmResult& arm : analysis.arms) {
    if (arms == most_rows) break;
    ++arms;
    lines.push_back(table_row(arm, false, width, lengths));
    if (has_control && with_control) lines.push_back(table_row(arm, true, width, lengths));
  }
  Lines more;
  if (arms < analysis.arms.size()) {
    more.push_back(wording::count_of(static_cast<int64_t>(analysis.arms.size() - arms), "arm"));
  }
  const size_t settings = analysis.arms.front().lengths.size() / (has_control ? 2 : 1);
  if (lengths.size() < settings) {
    more.push_back(wording::count_of(static_cast<int64_t>(settings - lengths.size()), "length"));
  }
  if (has_control && !with_control) more.emplace_back("the control");
  more.emplace_back("every seed, interval and comparison");
  const std::string footer = fmt::format("unigram entropy of the data: {:.4f} nats. The report adds {}.",
                                         analysis.unigram_entropy, fmt::join(more, ", "));
  append(lines, wrapped(footer));
  return lines;
}

}  // namespace

std::string terminal_summary(const Analysis& analysis) {
  Lines lines;
  const auto fits = [&](size_t clauses, bool with_control, size_t rows) {
    lines.clear();
    for (const std::string& warning : analysis.warnings) append(lines, wrapped("WARNING: " + warning));
    append(lines, table(analysis, with_control, rows));
    for (const std::string& sentence : summary_sentences(analysis, clauses)) {
      append(lines, wrapped(sentence));
    }
    return lines.size() <= kSummaryLines;
  };
  const size_t arms = analysis.arms.size();
  bool done = false;
  for (size_t clauses = 4; clauses > 0 && !done; --clauses) {
    done = fits(clauses, true, arms) || fits(clauses, false, arms);
  }
  for (size_t rows = arms; rows > 1 && !done;) done = fits(1, false, --rows);
  return fmt::format("{}", fmt::join(lines, "\n"));
}

}  // namespace rse
