#include "formats/json_file.h"

#include "core/check.h"
#include "core/file.h"

namespace rse {

nlohmann::json read_json_object(const std::filesystem::path& path) {
  nlohmann::json parsed = nlohmann::json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) throw_user_error("{}: expected a JSON object", path.string());
  return parsed;
}

}  // namespace rse
