#include "exporters/prometheus/listen_address.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace numaheap::exporters {
namespace {

TEST(ListenAddressTest, ReadsHostAndPort) {
  const struct {
    const char* text;
    const char* address;
  } cases[] = {{"127.0.0.1:9464", "127.0.0.1:9464"},
               {"localhost:80", "127.0.0.1:80"},
               {"0.0.0.0:0", "0.0.0.0:0"},
               {"10.1.2.3:65535", "10.1.2.3:65535"}};
  for (const auto& [text, expected] : cases) {
    const auto address = ListenAddress::Parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->ToString(), expected);
  }
}

TEST(ListenAddressTest, RefusesWhatIsNotOne) {
  for (const char* text :
       {"", ":", "9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:-1", "127.0.0.1:65536",
        "127.0.0.1:9464s", "127.0.0.1:9464,127.0.0.1:80", "127.0.0.1: 9464", " 127.0.0.1:9464",
        "127.0.0:9464", "1.2.3.4.5:9464", "example.org:9464", "[::1]:9464", "+9464", "*:9464"}) {
    EXPECT_FALSE(ListenAddress::Parse(text)) << text;
  }
}

TEST(ListenAddressTest, ProbeTellsWhyNot) {
  EXPECT_EQ(ListenAddress::Parse("127.0.0.1:0")->Probe(), 0);
  // 192.0.2.0/24 is set aside for documentation: no machine has it.
  EXPECT_EQ(ListenAddress::Parse("192.0.2.1:9464")->Probe(), EADDRNOTAVAIL);

  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_FALSE(ListenAddress::OfListener(listener)) << "it does not listen yet";
  ASSERT_EQ(listen(listener, 1), 0);
  const auto taken = ListenAddress::OfListener(listener);
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->Probe(), EADDRINUSE);
  close(listener);
  EXPECT_FALSE(ListenAddress::OfListener(listener)) << "it is closed";
}

}  // namespace
}  // namespace numaheap::exporters
