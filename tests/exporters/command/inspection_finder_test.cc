// Finding numaheap_inspection: in this program, which has a made-up one, and what is said of one
// that is of another version or makes no sense.
#include "exporters/command/inspection_finder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

namespace numaheap::command {
namespace {

using testing::HasSubstr;

// The real one is constant, and another program's.
extern "C" numaheap_inspection_t made_inspection asm("numaheap_inspection");

class InspectionFinderTest : public testing::Test {
 protected:
  InspectionFinderTest() {
    made_inspection = {};
    std::memcpy(made_inspection.magic, NUMAHEAP_INSPECTION_MAGIC, sizeof made_inspection.magic);
    made_inspection.self = reinterpret_cast<const numaheap_inspection_t*>(&made_inspection);
    made_inspection.version = NUMAHEAP_INSPECTION_VERSION;
    made_inspection.bytes = sizeof made_inspection;
    std::memcpy(made_inspection.library_version, "1.2.3", 6);
    made_inspection.page_bytes = 8192;
    made_inspection.span_index_unit = 16;
    made_inspection.span_stride = 128;
    made_inspection.span_bytes = 64;
    made_inspection.class_bytes = 8;
  }

  static absl::StatusOr<numaheap_inspection_t> Find() {
    const auto process = Process::Open(getpid());
    EXPECT_TRUE(process.ok()) << process.status();
    return FindInspection(*process);
  }
};

TEST_F(InspectionFinderTest, FindsTheSymbol) {
  const auto found = Find();
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->self, made_inspection.self);
  EXPECT_STREQ(found->library_version, "1.2.3");
}

TEST_F(InspectionFinderTest, ACopyIsNone) {
  made_inspection.self = nullptr;
  EXPECT_THAT(Find().status().message(), HasSubstr("does not use numaheap"));
  made_inspection.self = reinterpret_cast<const numaheap_inspection_t*>(&made_inspection);
  made_inspection.magic[3] ^= 1;
  EXPECT_THAT(Find().status().message(), HasSubstr("does not use numaheap"));
}

TEST_F(InspectionFinderTest, OtherVersions) {
  made_inspection.version = NUMAHEAP_INSPECTION_VERSION + 98;
  EXPECT_THAT(Find().status().message(), HasSubstr("is read with version 99"));
  EXPECT_THAT(Find().status().message(), HasSubstr("that came with that library"));
  made_inspection.version = NUMAHEAP_INSPECTION_VERSION;
  made_inspection.bytes += 8;  // a later one, with more at the end
  EXPECT_TRUE(Find().ok());
  made_inspection.bytes = 64;
  EXPECT_FALSE(Find().ok());
}

TEST_F(InspectionFinderTest, WhatMakesNoSense) {
  made_inspection.span_stride = 100;
  EXPECT_THAT(Find().status().message(), HasSubstr("span indices"));
}

numaheap_inspection_t made_inspection = {};

}  // namespace
}  // namespace numaheap::command
