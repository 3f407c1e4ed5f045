// Makes folders that appear complete or not at all.
//
// Invariant: nobody sees a folder of the final name before everything in it is on the disk, and no folder that
// somebody else made is replaced, an empty one neither.
#pragma once

#include <filesystem>
#include <functional>

namespace rse {

// Makes `target`: write(temporary) fills `temporary`, a new folder in the same folder as `target`, which is
// then synced and renamed. Folders above it that are missing are made and synced, too. Where write() or a call
// of the system fails, nothing of it stays. UserError naming the path and the system's reason, also where
// `target` exists; what write() throws is passed on.
void make_folder_atomically(const std::filesystem::path& target, const std::filesystem::path& temporary,
                            const std::function<void(const std::filesystem::path&)>& write);

// Gives the folder `from` the name `to` in one step, where nothing bears that name. Returns false, and changes
// nothing, where something does. UserError naming both and the system's reason where it cannot be renamed.
// Several processes may try at once: each name goes to one of them.
bool rename_to_new(const std::filesystem::path& from, const std::filesystem::path& to);

// The same for file systems that cannot refuse an existing name while they rename (NFS): an empty folder `to`
// claims the name, and the rename replaces it. A process that is killed between the two leaves it empty.
bool rename_over_claim(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace rse
