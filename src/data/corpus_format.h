// Decides how a corpus file is read: as text or as JSON lines.
//
// The ending of its name decides where it is .txt or .text (text) or .jsonl, .ndjson or .json (JSON lines), in
// letters of either case, before .zst or .gz. Elsewhere the first bytes of its content do.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "core/enum_names.h"

namespace rse {

enum class TextFormat { kAuto, kText, kJsonLines };

// The names of the flag --format and of manifests.
const EnumNames<TextFormat>& text_format_names();

struct FileName {
  TextFormat format = TextFormat::kAuto;  // what the ending says; kAuto: nothing
  bool numbered = false;                  // the name ends in a number, as those of parts do: part-00000
  std::string ending;                     // ".json", in lower case, without .zst and .gz; "" for none
};
FileName describe_name(const std::filesystem::path& path);

// How a file is read: as `wanted` unless that is kAuto; else as its name says, or as `head`, the first bytes
// of its text (up to LineReader::kHeadBytes of them), does. UserError naming the file and what it is where it
// is neither text nor JSON lines: a known binary format, UTF-16 or UTF-32, a table (.csv, .tsv), or one JSON
// document instead of a JSON object on each line.
TextFormat decide_format(const std::filesystem::path& path, std::string_view head, TextFormat wanted);

// Whether these first bytes of a text look like JSON lines. It never throws.
bool looks_like_json_lines(std::string_view head);

// Whether these first bytes are those of text: UTF-8 without NUL bytes.
bool looks_like_text(std::string_view head);

}  // namespace rse
