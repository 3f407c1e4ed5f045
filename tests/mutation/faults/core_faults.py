"""Faults of src/core: random numbers and files."""
from planting import Fault

FAULTS = [
    Fault("core.key_halves_commute", "src/core/random.cpp",
          "mix_key(uint64_t a, uint64_t b) { return splitmix(«splitmix(a) ^ b»); }", "a + b",
          "Keys of (a, b) and (b, a), and of all pairs with one sum, are the same."),
    Fault("core.random_index_of_32_bits", "src/core/random.cpp",
          "philox4x32({static_cast<uint32_t>(index), «static_cast<uint32_t>(index >> 32)», 0, 0},", "0u",
          "Draws 2^32 apart are the same."),
    Fault("core.random_key_of_32_bits", "src/core/random.cpp",
          "{static_cast<uint32_t>(key), «static_cast<uint32_t>(key >> 32)»});", "0u",
          "Streams whose keys agree in 32 bits are the same."),
    Fault("core.file_not_synced", "src/core/file.cpp",
          "if (std::fflush(file_) != 0 || «::fsync(::fileno(file_)) != 0») fail(", "false",
          "A file is renamed into place before its content is on the disk."),
    Fault("core.folder_not_synced", "src/core/file.cpp", "const int result = «::fsync(descriptor)»;", "0",
          "A folder's new names are not on the disk when its maker goes on."),
    Fault("core.unfinished_file_stays", "src/core/file.cpp",
          "std::fclose(file_);\n  «::unlink(temporary_.c_str());»\n}", "",
          "A temporary file stays where writing it was given up."),
    Fault("core.half_written_folder_shows", "src/core/atomic_folder.cpp", "«write(temporary);»",
          "std::filesystem::rename(temporary, target); write(target); std::filesystem::create_directories(temporary);",
          "A folder has its name while it is being written."),
]
