// Makes folders that appear complete or not at all.
//
// Invariant: nobody sees a folder of the final name before everything in it is on the disk.
#pragma once

#include <filesystem>
#include <functional>

namespace rse {

// Makes `target`: write(temporary) fills `temporary`, a new folder in the same folder as `target`, which is
// then synced and renamed. Folders above it that are missing are made and synced, too. Where write() or a call
// of the system fails, nothing of it stays. UserError naming the path and the system's reason; what write()
// throws is passed on. `target` must not exist.
void make_folder_atomically(const std::filesystem::path& target, const std::filesystem::path& temporary,
                            const std::function<void(const std::filesystem::path&)>& write);

}  // namespace rse
