// CHECK and DCHECK: what ends the program, with which line, and what each build leaves out.
#include "src/base/check.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <string>

namespace numaheap {
namespace {

TEST(CheckTest, WhatHoldsGoesOn) {
  int evaluated = 0;
  CHECK(++evaluated == 1);
  CHECK(evaluated);
  EXPECT_EQ(evaluated, 1);
}

TEST(CheckTest, FailureIsOneLineThatSaysWhere) {
  const int two = 2;
  const int line = __LINE__ + 2;
  EXPECT_EXIT(
      CHECK(two == 3 && "sums"), testing::KilledBySignal(SIGABRT),
      testing::MatchesRegex("numaheap: internal check failed at [^\n]*tests/base/check_test.cc:" +
                            std::to_string(line) + ": two == 3 && \"sums\"\n"));
}

TEST(CheckTest, DcheckIsACheckInDebugBuilds) {
  if (!kDebugChecks) GTEST_SKIP() << "this build has no debug checks";
  const int two = 2;
  DCHECK(two == 2);
  EXPECT_EXIT(DCHECK(two == 3), testing::KilledBySignal(SIGABRT),
              "check_test.cc:[0-9]+: two == 3\n");
}

TEST(CheckTest, DcheckIsNothingInOtherBuilds) {
  if (kDebugChecks) GTEST_SKIP() << "this build has debug checks";
  int evaluated = 0;
  DCHECK(++evaluated == 0);
  EXPECT_EQ(evaluated, 0);
}

}  // namespace
}  // namespace numaheap
