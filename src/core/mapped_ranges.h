// What ends a program whose mapped file was cut short, or whose disk failed, while the file was in use. The
// system tells it by SIGBUS at the next access, in whatever thread; then the file is named in one line on stderr
// and the program ends with kExitUserError.
//
// Order of calls: end_on_lost_pages() once per program (run_program() does); MappedFile (core/file.h) notes its
// range while it lives. Invariants: the handler calls async-signal-safe functions only, reads atomics without
// locks, and writes a message that was made beforehand. A SIGBUS at any other address does what it did before.
// Outputs appear under their names when they are complete, so the end at once leaves at most temporary files.
#pragma once

#include <cstddef>
#include <filesystem>

namespace rse {

// Takes over SIGBUS. name: of the program, which begins the line.
void end_on_lost_pages(const char* name);

// Notes that [data, data + size) is a map of `path`, and that it no longer is. size > 0.
void note_mapped_range(const void* data, size_t size, const std::filesystem::path& path);
void forget_mapped_range(const void* data);

}  // namespace rse
