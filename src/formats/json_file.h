// Reads the JSON files of a run.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

namespace rse {

// The object that `path` holds. UserError where it holds anything else.
nlohmann::json read_json_object(const std::filesystem::path& path);

}  // namespace rse
