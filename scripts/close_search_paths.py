"""Takes the entries that mean the current folder out of the search paths (RUNPATH, RPATH) of libraries in place.

A library of the LibTorch wheel has such an entry, so that a libcuda.so.1 in the folder where a program is started would
be loaded and run. Only what scripts/setup.sh has downloaded is changed. usage: close_search_paths.py FOLDER
"""
import sys

from elf import Elf, is_absolute, loaded_files


def closed(text):
    """The search path without empty and relative entries."""
    return ":".join(entry for entry in text.split(":") if is_absolute(entry))


def main(folder):
    for path in loaded_files(folder):
        for offset, text in Elf(path).search_path_strings():
            if closed(text) == text:
                continue
            with open(path, "r+b") as file:
                file.seek(offset)
                file.write(closed(text).encode().ljust(len(text.encode()), b"\0"))
            print(f"setup: {path}: searches '{closed(text)}' for libraries, no longer the current folder")


if __name__ == "__main__":
    main(sys.argv[1])
