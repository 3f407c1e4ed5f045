// What is read must not be written: it would be lost.
#pragma once

#include <filesystem>
#include <vector>

namespace rse {

// UserError where writing one of `outputs` would replace a file of `read`, under whatever name (links count), or one
// that lies in a folder of `read`.
void expect_not_read(const std::vector<std::filesystem::path>& outputs,
                     const std::vector<std::filesystem::path>& read);

}  // namespace rse
