#include "core/config_binder.h"

#include <algorithm>

#include "core/written_path.h"

namespace rse {
namespace {

std::string shown(const ConfigNode& node) {
  switch (node.kind) {
    case ConfigNode::Kind::kNull:
      return "nothing";
    case ConfigNode::Kind::kScalar:
      return fmt::format("'{}'", cut_for_message(node.scalar));
    case ConfigNode::Kind::kList:
      return "a list";
    case ConfigNode::Kind::kMap:
      return "a map";
  }
  return "";
}

template <typename T>
T parse_number(const ConfigNode& node, const std::string& path, const Range<T>& range) {
  const std::string place = fmt::format("{}: {}", node.where, path);
  if (node.kind == ConfigNode::Kind::kScalar) return parse_number(place, node.scalar, range);
  throw_user_error("{}: {}: expected {} {}", place, shown(node),
                   std::is_floating_point_v<T> ? "a number" : "a whole number", range.describe());
}

std::string format_number(int64_t value) { return fmt::format("{}", value); }
std::string format_number(double value) { return fmt::format("{}", value); }

}  // namespace

ConfigBinder::ConfigBinder(const ConfigNode* node, std::string prefix)
    : node_(node), prefix_(std::move(prefix)) {
  dumped_.kind = ConfigNode::Kind::kMap;
  if (node_ != nullptr && node_->kind != ConfigNode::Kind::kMap && node_->kind != ConfigNode::Kind::kNull) {
    if (!node_->set_problem.empty()) throw UserError(node_->set_problem);
    throw_user_error("{}: {}: {}: expected a map of keys{}", node_->where, prefix_, shown(*node_),
                     missing_space_hint(node_->scalar));
  }
}

std::string ConfigBinder::path(const char* key) const { return prefix_.empty() ? key : prefix_ + "." + key; }

std::string ConfigBinder::where(const char* key) const {
  if (node_ == nullptr) return "default";
  const ConfigNode* value = node_->find(key);
  if (value != nullptr) return value->where;
  return node_->where.empty() ? "default" : node_->where;
}

void ConfigBinder::declare(const char* key, std::string pattern, const KeyRule& rule) {
  known_.push_back(key);
  if (!reading()) rules_.add(std::move(pattern), rule);
}

const ConfigNode* ConfigBinder::find(const char* key) const {
  return node_ == nullptr ? nullptr : node_->find(key);
}

const ConfigNode* ConfigBinder::enter(const char* key) const {
  static const ConfigNode kEmpty;
  if (node_ == nullptr) return nullptr;
  const ConfigNode* value = find(key);
  return value == nullptr ? &kEmpty : value;
}

const ConfigNode* ConfigBinder::scalar(const char* key) const {
  const ConfigNode* value = find(key);
  if (value != nullptr && value->kind != ConfigNode::Kind::kScalar) {
    throw_user_error("{}: {}: {}: expected a single value", value->where, path(key), shown(*value));
  }
  return value;
}

const ConfigNode* ConfigBinder::list(const char* key) const {
  const ConfigNode* value = find(key);
  if (value != nullptr && value->kind != ConfigNode::Kind::kList) {
    if (!value->set_problem.empty()) throw UserError(value->set_problem);
    throw_user_error("{}: {}: {}: expected a list, such as [1, 2]", value->where, path(key), shown(*value));
  }
  return value;
}

void ConfigBinder::put(const char* key, ConfigNode node) {
  dumped_.entries.emplace_back(key, std::move(node));
}

void ConfigBinder::put_scalar(const char* key, std::string text) {
  ConfigNode node;
  node.kind = ConfigNode::Kind::kScalar;
  node.scalar = std::move(text);
  put(key, std::move(node));
}

void ConfigBinder::field(const char* key, bool& value, const KeyRule& rule) {
  declare(key, path(key), rule);
  if (const ConfigNode* node = scalar(key)) {
    if (node->scalar != "true" && node->scalar != "false") {
      throw_user_error("{}: {}: {}: expected true or false", node->where, path(key), shown(*node));
    }
    value = node->scalar == "true";
  }
  if (!reading()) put_scalar(key, value ? "true" : "false");
}

void ConfigBinder::field(const char* key, int64_t& value, Range<int64_t> range, const KeyRule& rule) {
  declare(key, path(key), rule);
  if (const ConfigNode* node = scalar(key)) value = parse_number(*node, path(key), range);
  if (!reading()) put_scalar(key, format_number(value));
}

void ConfigBinder::field(const char* key, double& value, Range<double> range, const KeyRule& rule) {
  declare(key, path(key), rule);
  if (const ConfigNode* node = scalar(key)) value = parse_number(*node, path(key), range);
  if (!reading()) put_scalar(key, format_number(value));
}

const ConfigNode* ConfigBinder::text(const char* key, std::string& value) const {
  const ConfigNode* node = find(key);
  if (node == nullptr) return nullptr;
  if (node->set_text) {
    value = *node->set_text;
  } else if (node->kind == ConfigNode::Kind::kNull) {
    value.clear();
  } else {
    value = scalar(key)->scalar;
  }
  return node;
}

void ConfigBinder::field(const char* key, std::string& value, const KeyRule& rule) {
  declare(key, path(key), rule);
  text(key, value);
  if (!reading()) put_scalar(key, value);
}

void ConfigBinder::path_field(const char* key, std::string& value, const KeyRule& rule) {
  declare(key, path(key), rule);
  const ConfigNode* node = text(key, value);
  if (node != nullptr && (node->set_text || node->kind != ConfigNode::Kind::kNull)) {
    check_written_path(fmt::format("{}: {}", node->where, path(key)), value);
  }
  if (reading()) return;
  if (value.empty()) {
    put(key, {});
  } else {
    put_scalar(key, value);
  }
}

namespace {

template <typename T>
ConfigNode number_list(const std::vector<T>& values) {
  ConfigNode node;
  node.kind = ConfigNode::Kind::kList;
  for (const T& value : values) {
    ConfigNode item;
    item.kind = ConfigNode::Kind::kScalar;
    item.scalar = format_number(value);
    node.items.push_back(std::move(item));
  }
  return node;
}

template <typename T>
std::vector<T> parse_list(const ConfigNode& node, const std::string& path, const Range<T>& range) {
  std::vector<T> values;
  for (const ConfigNode& item : node.items) values.push_back(parse_number(item, path, range));
  return values;
}

}  // namespace

void ConfigBinder::field(const char* key, std::vector<int64_t>& value, Range<int64_t> range,
                         const KeyRule& rule) {
  declare(key, path(key), rule);
  if (const ConfigNode* node = list(key)) value = parse_list(*node, path(key), range);
  if (!reading()) put(key, number_list(value));
}

void ConfigBinder::field(const char* key, std::vector<double>& value, Range<double> range,
                         const KeyRule& rule) {
  declare(key, path(key), rule);
  if (const ConfigNode* node = list(key)) value = parse_list(*node, path(key), range);
  if (!reading()) put(key, number_list(value));
}

void ConfigBinder::choose(const char* key, std::string& value, const std::vector<std::string>& words,
                          const KeyRule& rule) {
  declare(key, path(key), rule);
  if (const ConfigNode* node = scalar(key)) {
    if (std::find(words.begin(), words.end(), node->scalar) == words.end()) {
      const std::string near = nearest_word(node->scalar, words);
      throw_user_error("{}: {}: {}: expected one of {}{}", node->where, path(key), shown(*node),
                       fmt::join(words, ", "), near.empty() ? "" : "; did you mean '" + near + "'?");
    }
    value = node->scalar;
  }
  if (!reading()) put_scalar(key, value);
}

void ConfigBinder::finish() const {
  if (node_ == nullptr) return;
  for (const auto& [key, value] : node_->entries) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    const std::string near = nearest_word(key, known_);
    throw_user_error("{}: unknown key '{}'{}{}; known here: {}", value.where,
                     path(cut_for_message(key).c_str()), near.empty() ? "" : ", did you mean '" + near + "'?",
                     missing_space_hint(key), fmt::join(known_, ", "));
  }
}

}  // namespace rse
