"""Reads ELF files (64-bit, little-endian): where they search for libraries, and the names that they export."""

import mmap
import os
import struct

DT_STRTAB, DT_RPATH, DT_RUNPATH = 5, 15, 29
PT_LOAD, PT_DYNAMIC = 1, 2
SHT_DYNSYM = 11
SHN_UNDEF = 0
ET_EXEC, ET_DYN = 2, 3


def string_at(data, at):
    return data[at:data.find(b"\0", at)].decode()


def is_absolute(entry):
    """Whether an entry of a search path means the same folder wherever the program is started."""
    return entry.startswith(("/", "$ORIGIN/", "${ORIGIN}/")) or entry in ("$ORIGIN", "${ORIGIN}")


class Elf:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if self.data[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{path}: not a 64-bit little-endian ELF file")
        self.segments = []  # (type, offset, address, size)
        at, size, count = self.unpack("<Q", 32)[0], *self.unpack("<HH", 54)
        for n in range(count):
            kind, _, offset, address, _, length = self.unpack("<IIQQQQ", at + n * size)
            self.segments.append((kind, offset, address, length))

    def unpack(self, form, at):
        return struct.unpack_from(form, self.data, at)

    def offset_of(self, address):
        for kind, offset, start, length in self.segments:
            if kind == PT_LOAD and start <= address < start + length:
                return offset + address - start
        raise ValueError(f"no segment holds the address {address:#x}")

    def dynamic(self):
        """Returns the (tag, value) pairs of the dynamic section; [] where there is none."""
        for kind, offset, _, length in self.segments:
            if kind == PT_DYNAMIC:
                return [self.unpack("<QQ", at) for at in range(offset, offset + length, 16)]
        return []

    def search_path_strings(self):
        """Returns RUNPATH and RPATH as (offset in the file, text)."""
        dynamic = self.dynamic()
        strings = [self.offset_of(value) for tag, value in dynamic if tag == DT_STRTAB]
        return [(strings[0] + value, string_at(self.data, strings[0] + value))
                for tag, value in dynamic if tag in (DT_RPATH, DT_RUNPATH)]

    def search_path(self):
        """Returns the entries of RUNPATH and RPATH; an empty entry is "", and is the current folder."""
        return [entry for _, text in self.search_path_strings() if text for entry in text.split(":")]

    def exported(self):
        """Returns the mangled names that other files can link to."""
        at, (size, count) = self.unpack("<Q", 40)[0], self.unpack("<HH", 58)
        sections = [self.unpack("<IIQQQQIIQQ", at + n * size) for n in range(count)]
        tables = [section for section in sections if section[1] == SHT_DYNSYM]
        if len(tables) != 1:
            raise ValueError(f"{len(tables)} tables of dynamic symbols")
        table, strings, names = tables[0], sections[tables[0][6]][4], []
        for entry in range(table[4], table[4] + table[5], table[9]):
            name, info, other, section = self.unpack("<IBBH", entry)
            is_global, is_default = info >> 4 != 0, other & 3 == 0
            if section != SHN_UNDEF and is_global and is_default:
                names.append(string_at(self.data, strings + name))
        return names


def loaded_files(folder):
    """Yields every program and shared library under the folder. Links are left out."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                head = file.read(18)
            if head[:4] == b"\x7fELF" and struct.unpack_from("<H", head, 16)[0] in (ET_EXEC, ET_DYN):
                yield path
