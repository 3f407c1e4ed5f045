#include "data/visible_text.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace rse {
namespace {

struct Range {
  uint32_t first, last;
};

// Sorted. These are Unicode's properties White_Space and Default_Ignorable_Code_Point and its general category
// Cc, with U+2581, U+2800 (an empty Braille pattern), U+FFF9 to U+FFFB and U+FFFD.
constexpr Range kInvisible[] = {
    {0x00, 0x20},     {0x7F, 0xA0},       {0xAD, 0xAD},       {0x34F, 0x34F},     {0x61C, 0x61C},
    {0x115F, 0x1160}, {0x1680, 0x1680},   {0x17B4, 0x17B5},   {0x180B, 0x180F},   {0x2000, 0x200F},
    {0x2028, 0x202F}, {0x205F, 0x206F},   {0x2581, 0x2581},   {0x2800, 0x2800},   {0x3000, 0x3000},
    {0x3164, 0x3164}, {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},   {0xFFA0, 0xFFA0},   {0xFFF0, 0xFFFB},
    {0xFFFD, 0xFFFD}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0000, 0xE0FFF},
};

constexpr Range kWhiteSpace[] = {
    {0x09, 0x0D},     {0x20, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680},
    {0x2000, 0x200B}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000},
};

template <size_t N>
bool contains(const Range (&ranges)[N], uint32_t character) {
  const Range* range = std::lower_bound(std::begin(ranges), std::end(ranges), character,
                                        [](const Range& r, uint32_t c) { return r.last < c; });
  return range != std::end(ranges) && character >= range->first;
}

struct Character {
  uint32_t code = 0;
  size_t bytes = 1;
};

// The character that `text` (not empty) begins with. A continuation byte at its start gives a code above
// U+10FFFF, which is in no range.
Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[i])); };
  if (byte(0) < 0x80) return {byte(0), 1};
  const size_t bytes = byte(0) >= 0xF0 ? 4 : byte(0) >= 0xE0 ? 3 : 2;
  if (byte(0) < 0xC0 || text.size() < bytes) return {0xFFFFFFFF, 1};
  uint32_t code = byte(0) & (0x7FU >> bytes);
  for (size_t i = 1; i < bytes; ++i) code = code << 6 | (byte(i) & 0x3FU);
  return {code, bytes};
}

}  // namespace

bool has_visible_character(std::string_view text) {
  while (!text.empty()) {
    const Character character = first_character(text);
    if (!contains(kInvisible, character.code)) return true;
    text.remove_prefix(character.bytes);
  }
  return false;
}

size_t white_space_bytes(std::string_view text) {
  if (text.empty()) return 0;
  const Character character = first_character(text);
  return contains(kWhiteSpace, character.code) ? character.bytes : 0;
}

size_t last_white_space(std::string_view text) {
  for (size_t i = text.size(); i-- > 0;) {
    if (white_space_bytes(text.substr(i)) > 0) return i;
  }
  return std::string_view::npos;
}

}  // namespace rse
