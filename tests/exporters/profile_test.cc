// libnumaheap-profile: what it reads of the process, and the bytes of a file of pprof's.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <string>
#include <vector>

#include "exporters/profile/loaded_code.h"
#include "exporters/profile/pprof_file.h"
#include "exporters/profile/profile_plugin.h"

namespace numaheap {
namespace {

TEST(LoadedCodeTest, KeepsWhatCanBeRun) {
  const auto mappings = ParseMaps(
      "00400000-00401000 r--p 00000000 fe:00 17                             /usr/bin/a program\n"
      "00401000-00500000 r-xp 00001000 fe:00 17                             /usr/bin/a program\n"
      "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n"
      "7f0000002000-7f0000003000 rwxp 00000000 00:00 0 \n"
      "7fff00000000-7fff00002000 r-xp 00000000 00:00 0                      [vdso]\n"
      "garbage\n");
  ASSERT_EQ(mappings.size(), 3u);
  EXPECT_EQ(mappings[0].start, 0x401000u);
  EXPECT_EQ(mappings[0].end, 0x500000u);
  EXPECT_EQ(mappings[0].file_offset, 0x1000u);
  EXPECT_EQ(mappings[0].file, "/usr/bin/a program");
  EXPECT_EQ(mappings[1].file, "");
  EXPECT_EQ(mappings[2].file, "[vdso]");
}

TEST(LoadedCodeTest, KnowsTheOwnProgram) {
  const auto address = reinterpret_cast<uintptr_t>(&numaheap_profile_trace);
  const auto mappings = LoadedCode();
  const auto own = std::find_if(mappings.begin(), mappings.end(), [=](const CodeMapping& mapping) {
    return mapping.start <= address && address < mapping.end;
  });
  ASSERT_NE(own, mappings.end());
  EXPECT_EQ(own->build_id.size() % 2, 0u);
  EXPECT_THAT(own->file, testing::HasSubstr("unit_tests"));
}

std::string Gunzip(const std::string& file) {
  std::string out(1 << 20, '\0');
  z_stream stream = {};
  EXPECT_EQ(inflateInit2(&stream, 15 + 16), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(file.data()));
  stream.avail_in = static_cast<uInt>(file.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  inflateEnd(&stream);
  return out;
}

TEST(PprofFileTest, IsTheFormat) {
  PprofFile file({{0x1000, 0x2000, 0x10, "f", "ab"}});
  file.AddType("t", "u");
  file.SetPeriod("t", "u", 300);
  void* stack[] = {reinterpret_cast<void*>(0x1235), reinterpret_cast<void*>(0x1235)};
  file.AddSample(stack, 2, {-1}, "l", "v");
  using namespace std::string_literals;
  EXPECT_EQ(Gunzip(file.Gzipped()),
            "\x0a\x04\x08\x03\x10\x04"s                  // a type of strings 3 and 4
            "\x12\x16\x0a\x02\x01\x01\x12\x0a"s          // a sample: locations, values
            "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"s  // -1
            "\x1a\x04\x08\x05\x10\x06"s                  // its label
            "\x1a\x0e\x08\x01\x10\x80\x20\x18\x80\x40\x20\x10\x28\x01\x30\x02"s  // a mapping
            "\x22\x07\x08\x01\x10\x01\x18\xb4\x24"s  // a location: the call
            "\x32\x00\x32\x01"
            "f\x32\x02"
            "ab\x32\x01"
            "t\x32\x01"
            "u\x32\x01"
            "l\x32\x01"
            "v"s
            "\x48\x00\x70\x00"s                        // time, default type
            "\x5a\x04\x08\x03\x10\x04\x60\xac\x02"s);  // period
}

// Has a frame pointer, whatever the flags.
[[gnu::noinline]] int Trace(void** stack, int most) {
  asm volatile("" : : "r"(__builtin_frame_address(0)));
  const int depth = numaheap_profile_trace(stack, most);
  asm volatile("");  // no tail call
  return depth;
}

TEST(ProfilePluginTest, TracesNoFurtherThanAsked) {
  void* stack[8] = {};
  EXPECT_LE(Trace(stack, 2), 2);
  EXPECT_EQ(stack[2], nullptr);
  EXPECT_GE(Trace(stack, 8), 1);
}

TEST(ProfilePluginTest, SaysWhyItCouldNotWrite) {
  const numaheap_profile_source nothing = {
      1, [](void (*)(void*, const numaheap_profile_sample*), void*) {}};
  errno = 0;
  EXPECT_EQ(numaheap_profile_write(-1, &nothing), EBADF);
  const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  EXPECT_EQ(numaheap_profile_write(full, &nothing), ENOSPC);
  close(full);
  EXPECT_EQ(errno, 0);
}

}  // namespace
}  // namespace numaheap
