// The kernel's lists of CPUs and nodes: good ones, bad ones, and at random against std::set.
#include "src/os/id_list.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <random>
#include <set>
#include <string>

namespace numaheap {
namespace {

TEST(IdListTest, Highest) {
  EXPECT_EQ(HighestId("0"), 0);
  EXPECT_EQ(HighestId("7"), 7);
  EXPECT_EQ(HighestId("0-3"), 3);
  EXPECT_EQ(HighestId("0-3,8,10-11"), 11);
  EXPECT_EQ(HighestId("5-5"), 5);
  EXPECT_EQ(HighestId("0-8191\n"), 8191);
  EXPECT_EQ(HighestId("9,1\n"), 9) << "the kernel sorts, but nobody has to";
}

TEST(IdListTest, Has) {
  constexpr std::string_view kList = "0-3,8,10-11\n";
  for (int id : {0, 1, 3, 8, 10, 11}) EXPECT_TRUE(HasId(kList, id)) << id;
  for (int id : {-1, 4, 7, 9, 12, 100}) EXPECT_FALSE(HasId(kList, id)) << id;
}

TEST(IdListTest, OnlyTheFirstLineCounts) {
  EXPECT_EQ(HighestId("1\n5\n"), 1);
  EXPECT_EQ(HighestId("1\nand more"), 1);
  EXPECT_FALSE(HasId("1\n5\n", 5));
}

TEST(IdListTest, LargestNumber) {
  EXPECT_EQ(HighestId("1048576"), 1 << 20);
  EXPECT_EQ(HighestId("1048577"), -1);
  EXPECT_EQ(HighestId("99999999999999999999"), -1);
  EXPECT_EQ(HighestId("0-4294967296"), -1);
}

TEST(IdListTest, WhatIsNoListHoldsNothing) {
  for (const char* text :
       {"",      "\n",  ",",  "-",  "a",   "0,", ",0",  "0,,1", "0-",    "-1",     "0--3",   "3-1",
        "0-1-2", "0 1", " 0", "0 ", "0\t", "+1", "0x1", "1.5",  "0-3,x", "(null)", "0-3,5-4"}) {
    EXPECT_EQ(HighestId(text), -1) << '"' << text << '"';
    EXPECT_FALSE(HasId(text, 0)) << '"' << text << '"';
    EXPECT_FALSE(HasId(text, 1)) << '"' << text << '"';
  }
  EXPECT_EQ(HighestId(std::string_view("0\0", 2)), -1);
}

TEST(IdListModel, RandomAgainstSet) {
  std::mt19937 random(20240123);
  for (int round = 0; round < 1'000; ++round) {
    std::set<int> ids;
    std::string list;
    int next = static_cast<int>(random() % 3);
    const int parts = 1 + static_cast<int>(random() % 8);
    for (int part = 0; part < parts; ++part) {
      const int first = next;
      const int last = first + static_cast<int>(random() % 3 == 0 ? random() % 20 : 0);
      if (!list.empty()) list += ',';
      list += std::to_string(first);
      if (last > first) list += '-' + std::to_string(last);
      for (int id = first; id <= last; ++id) ids.insert(id);
      next = last + 1 + static_cast<int>(random() % 5);
    }
    if (random() % 2) list += '\n';
    SCOPED_TRACE(list);
    ASSERT_EQ(HighestId(list), *ids.rbegin());
    for (int id = -1; id <= next; ++id) ASSERT_EQ(HasId(list, id), ids.count(id) == 1) << id;
  }
}

class IdListFileTest : public testing::Test {
 protected:
  IdListFileTest() {
    const int fd = mkstemp(path_);
    EXPECT_GE(fd, 0);
    close(fd);
  }
  ~IdListFileTest() override { unlink(path_); }
  void Write(const std::string& text) { std::ofstream(path_) << text; }

  char path_[32] = "/tmp/numaheap-list-XXXXXX";
};

TEST_F(IdListFileTest, ReadsAFile) {
  Write("0-3,8\n");
  const IdListFile list(path_);
  EXPECT_EQ(list.highest(), 8);
  EXPECT_TRUE(list.Has(2));
  EXPECT_FALSE(list.Has(5));
}

TEST_F(IdListFileTest, ReadsAsMuchAsSysfsShows) {
  std::string text;
  while (text.size() < 4092) text += "100,";
  text += "9999";
  ASSERT_EQ(text.size(), 4096u);
  Write(text);
  EXPECT_EQ(IdListFile(path_).highest(), 9999);
}

TEST_F(IdListFileTest, ReadsALineOfProcfs) {
  Write(
      "Name:\tMems_allowed_list: 7\nMems_allowed:\t00000005\nMems_allowed_list:\t0,2\nLast:\t1\n");
  const IdListFile list(path_, "Mems_allowed_list:");
  EXPECT_EQ(list.highest(), 2);
  EXPECT_TRUE(list.Has(0));
  EXPECT_FALSE(list.Has(1));
  EXPECT_EQ(IdListFile(path_, "Last:").highest(), 1);
  EXPECT_EQ(IdListFile(path_, "Cpus_allowed_list:").highest(), -1) << "no such line";
  EXPECT_EQ(IdListFile(path_, "Name:").highest(), -1) << "no list";
}

TEST_F(IdListFileTest, WhatCantBeReadHoldsNothing) {
  errno = EDOM;
  const IdListFile empty(path_);
  const IdListFile missing("/tmp/numaheap/no/such/file");
  const IdListFile folder("/tmp");
  EXPECT_EQ(errno, EDOM);
  for (const IdListFile* list : {&empty, &missing, &folder}) {
    EXPECT_EQ(list->highest(), -1);
    EXPECT_FALSE(list->Has(0));
  }
}

TEST(IdListRealFileTest, ThisMachinesCpus) {
  const IdListFile online("/sys/devices/system/cpu/online");
  if (online.highest() < 0) GTEST_SKIP() << "no sysfs here";
  EXPECT_TRUE(online.Has(online.highest()));
  EXPECT_FALSE(online.Has(online.highest() + 1));
  EXPECT_GE(IdListFile("/sys/devices/system/cpu/possible").highest(), online.highest());
  EXPECT_GE(IdListFile("/proc/thread-self/status", "Mems_allowed_list:").highest(), 0);
}

}  // namespace
}  // namespace numaheap
