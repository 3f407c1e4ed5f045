#include "core/check.h"

#include <algorithm>
#include <cstdio>
#include <numeric>

namespace rse {

void assertion_failed(const char* expression, const char* file, int line, const std::string& message) {
  throw std::logic_error(fmt::format("{}:{}: assertion '{}' failed: {}", file, line, expression, message));
}

int run_program(const char* name, const std::function<int()>& body) {
  try {
    return body();
  } catch (const UserError& error) {
    fmt::print(stderr, "{}: error: {}\n", name, error.what());
    return kExitUserError;
  } catch (const Interrupted& stop) {
    fmt::print(stderr, "{}: stopped: {}\n", name, stop.what());
    return kExitInterrupted;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: failed: {}\n", name, error.what());
    return kExitFailure;
  }
}

namespace {

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 2) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace rse
