#include "numa/hwloc_environment.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <exception>
#include <string>

#include "numa/hwloc_topology.h"

namespace numaheap {
namespace {

std::string Value(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "(none)" : value;
}

class HwlocVariables : public testing::Test {
 protected:
  void SetUp() override {
    setenv("HWLOC_XMLFILE", "/nonexistent.xml", 1);
    setenv("HWLOC_SYNTHETIC", "numa:7 pu:1", 1);
    setenv("HWLOC_PLUGINS_PATH", "/nonexistent", 1);
    setenv("HWLOC_HIDE_ERRORS", "1", 1);
    setenv("HWLOCAL", "kept", 1);
  }
  void TearDown() override {
    for (const char* name : {"HWLOC_XMLFILE", "HWLOC_SYNTHETIC", "HWLOC_PLUGINS_PATH",
                             "HWLOC_HIDE_ERRORS", "HWLOCAL"}) {
      unsetenv(name);
    }
  }
};

TEST_F(HwlocVariables, AreHiddenForAWhile) {
  char** const before = environ;
  const std::string path = Value("PATH");
  {
    const HwlocEnvironment environment;
    EXPECT_EQ(Value("HWLOC_XMLFILE"), "(none)");
    EXPECT_EQ(Value("HWLOC_SYNTHETIC"), "(none)");
    EXPECT_EQ(Value("HWLOC_PLUGINS_PATH"), "");
    EXPECT_EQ(Value("HWLOC_HIDE_ERRORS"), "1");
    EXPECT_EQ(Value("HWLOCAL"), "kept");
    EXPECT_EQ(Value("PATH"), path);
  }
  EXPECT_EQ(environ, before);
  EXPECT_EQ(Value("HWLOC_XMLFILE"), "/nonexistent.xml");
  EXPECT_EQ(Value("HWLOC_PLUGINS_PATH"), "/nonexistent");
  EXPECT_EQ(Value("HWLOC_ALLOW"), "(none)");
}

TEST_F(HwlocVariables, DoNotReplaceTheMachine) {
  const HwlocTopology machine = LoadHwloc([](hwloc_topology_t) { return 0; });
  EXPECT_TRUE(hwloc_topology_is_thissystem(machine.get()));
}

TEST_F(HwlocVariables, ComeBackAfterAFailure) {
  EXPECT_THROW(LoadHwloc([](hwloc_topology_t) { return -1; }), std::exception);
  EXPECT_EQ(Value("HWLOC_SYNTHETIC"), "numa:7 pu:1");
}

TEST(HwlocEnvironment, SurvivesAnEmptyOne) {
  char** const before = environ;
  environ = nullptr;  // what clearenv() leaves
  {
    const HwlocEnvironment environment;
    EXPECT_EQ(Value("HWLOC_ALLOW"), "all");
  }
  EXPECT_EQ(environ, nullptr);
  environ = before;
}

}  // namespace
}  // namespace numaheap
