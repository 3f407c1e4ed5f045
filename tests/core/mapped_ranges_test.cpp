// Tests how a program ends whose mapped file was cut short while it was in use.
#include "core/mapped_ranges.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "core/check.h"
#include "core/file.h"
#include "tests/support.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

class MappedRanges : public testing::Test {
 protected:
  void SetUp() override { testing::FLAGS_gtest_death_test_style = "threadsafe"; }

  fs::path file(const std::string& name, size_t size = 5 << 16) const {
    write_file_atomically(folder_ / name, std::string(size, 'x'));
    return folder_ / name;
  }

  // Cuts the file and reads its last byte.
  static int read_cut(const MappedFile& map) {
    fs::resize_file(map.path(), 1);
    return static_cast<int>(reinterpret_cast<const volatile char*>(map.data())[map.size() - 1]);
  }

  // The handler stays after run_program(), so each case runs in a process of its own.
  static void expect_named(const std::function<int()>& body, const std::string& name) {
    EXPECT_EXIT(run_program("rse-test", body), testing::ExitedWithCode(kExitUserError),
                "^rse-test: error: [^\n]*" + name + ": a part of it cannot be read any more[^\n]*\n$");
  }

  TemporaryFolder folder_;
};

TEST_F(MappedRanges, AFileThatIsCutIsNamedInOneLine) {
  expect_named([&] { return read_cut(MappedFile(file("train.bin"))); }, "train.bin");
  expect_named([&] { return read_cut(MappedFile(file("two\nlines"))); }, "two\\\\x0Alines");
}

TEST_F(MappedRanges, TheRightOneOfSeveralIsNamed) {
  expect_named(
      [&] {
        const MappedFile first(file("first")), second(file("second")), third(file("third"));
        { const MappedFile gone(file("gone")); }
        const MappedFile fourth(file("fourth"));
        MappedFile moved(file("moved"));
        const MappedFile target = std::move(moved);
        return read_cut(second);
      },
      "second");
  expect_named(
      [&] {
        MappedFile moved(file("moved"));
        const MappedFile target = std::move(moved);
        { const MappedFile gone(file("gone")); }
        return read_cut(target);
      },
      "moved");
}

TEST_F(MappedRanges, InAnyThread) {
  expect_named(
      [&] {
        const MappedFile map(file("valid.bin"));
        std::thread([&] { read_cut(map); }).join();
        return 0;
      },
      "valid.bin");
}

TEST_F(MappedRanges, OtherAddressesFaultAsBefore) {
  const auto body = [&] {
    const MappedFile map(file("train.bin"));
    const int descriptor = ::open(file("other").c_str(), O_RDWR);
    void* data = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, descriptor, 0);
    if (::ftruncate(descriptor, 0) != 0) return 0;
    return static_cast<int>(*static_cast<const volatile char*>(data));
  };
  EXPECT_EXIT(run_program("rse-test", body), testing::KilledBySignal(SIGBUS), "^$");
  EXPECT_EXIT(run_program("rse-test", [] { return ::raise(SIGBUS); }), testing::KilledBySignal(SIGBUS), "^$");
}

}  // namespace
}  // namespace rse
