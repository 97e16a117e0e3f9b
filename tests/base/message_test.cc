#include "src/base/message.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <limits>
#include <string>
#include <thread>

namespace numaheap {
namespace {

constexpr size_t SizeAtCompileTime() {
  Message m;
  m << "node " << 12 << ' ' << Hex(uint64_t{255});
  return m.view().size();
}
static_assert(SizeAtCompileTime() == sizeof("node 12 0xff") - 1);

TEST(MessageTest, AppendsTextNumbersAndAddresses) {
  Message m;
  m << "a" << std::string_view("bc") << 'd' << ' ' << 0 << ' ' << -7 << ' ' << size_t{42} << ' '
    << true;
  EXPECT_EQ(m.view(), "abcd 0 -7 42 true");
  m.clear();
  m << Hex(reinterpret_cast<void*>(0x7f00beef)) << ' ' << Hex(nullptr);
  EXPECT_EQ(m.view(), "0x7f00beef 0x0");
}

TEST(MessageTest, AppendsTheEndsOfEachWidth) {
  Message m;
  m << std::numeric_limits<int64_t>::min() << ' ' << std::numeric_limits<uint64_t>::max() << ' '
    << std::numeric_limits<int8_t>::min() << ' ' << uint8_t{255} << ' '
    << Hex(std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(m.view(), "-9223372036854775808 18446744073709551615 -128 255 0xffffffffffffffff");
}

TEST(MessageTest, HoldsItsCapacityAndMarksWhatIsMore) {
  Message m;
  const std::string full(Message::kCapacity, 'x');
  m << full;
  EXPECT_EQ(m.view(), full);
  EXPECT_FALSE(m.truncated());
  m << 1234;
  EXPECT_TRUE(m.truncated());
  EXPECT_EQ(m.view(), std::string(Message::kCapacity - 3, 'x') + "...");
  m << "more";
  EXPECT_EQ(m.view(), std::string(Message::kCapacity - 3, 'x') + "...");
}

class PipeTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(pipe2(ends_, O_CLOEXEC), 0); }
  void TearDown() override {
    close(ends_[0]);
    CloseWriteEnd();
  }
  void CloseWriteEnd() {
    if (ends_[1] >= 0) close(ends_[1]);
    ends_[1] = -1;
  }
  std::string ReadToEnd() {
    std::string all;
    char block[1024];
    for (ssize_t got; (got = read(ends_[0], block, sizeof block)) > 0;) all.append(block, got);
    return all;
  }
  int ends_[2] = {-1, -1};
};

TEST_F(PipeTest, WritesALineAndKeepsErrno) {
  Message m;
  m << "numaheap: hello";
  errno = ENOMEM;
  m.WriteTo(ends_[1]);
  WriteLine(ends_[1], "");
  EXPECT_EQ(errno, ENOMEM);
  CloseWriteEnd();
  EXPECT_EQ(ReadToEnd(), "numaheap: hello\n\n");
}

TEST_F(PipeTest, KeepsErrnoWhenNobodyCanRead) {
  errno = ENOENT;
  WriteLine(-1, "lost");
  EXPECT_EQ(errno, ENOENT);
}

TEST_F(PipeTest, WritesALineThatThePipeTakesInPieces) {
  const std::string line(1 << 20, 'l');
  std::string got;
  std::thread reader([&] { got = ReadToEnd(); });
  WriteLine(ends_[1], line);
  CloseWriteEnd();
  reader.join();
  EXPECT_EQ(got, line + "\n");
}

}  // namespace
}  // namespace numaheap
