// Writes TensorBoard event files with scalars: TFRecord frames (length, masked CRC32C of the length, data,
// masked CRC32C of the data) around Event protocol buffers.
//
// Order of calls: EventFile(folder, first_step) -> scalar() -> flush(). TensorBoard shows a folder as one run
// and reads its files in the order of their names, which is that of their making, also where the clock was
// set back between two of them. The formats are in
// tensorflow/core/lib/io/record_writer.h and tensorflow/core/util/event.proto, summary.proto.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>

namespace rse {

// CRC-32C (Castagnoli), as iSCSI uses it (RFC 3720, appendix B.4).
uint32_t crc32c(const void* data, size_t size);

// TFRecord's masking of a checksum: rotated right by 15 bits, plus a constant.
uint32_t masked_crc32c(const void* data, size_t size);

class EventFile {
 public:
  // Makes `folder` and a new event file in it for the steps from first_step on. Where the folder has event
  // files already (a run that goes on), the new one begins with a SessionLog START of that step, on which
  // TensorBoard drops what earlier files say of this step and later ones. UserError where it cannot be
  // written.
  EventFile(const std::filesystem::path& folder, int64_t first_step);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  void scalar(const std::string& tag, int64_t step, double value);
  void flush();
  const std::filesystem::path& path() const { return path_; }

 private:
  void write_record(const std::string& event);
  std::filesystem::path path_;
  std::FILE* file_ = nullptr;
};

}  // namespace rse
