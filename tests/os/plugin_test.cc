// OpenPlugin: where it looks, and the reason it gives when there is nothing.
#include "src/os/plugin.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace numaheap {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kSystemLibrary[] = "libm.so.6";

std::string Reason(const char* file, const char* symbol) {
  Message reason;
  EXPECT_EQ(OpenPlugin(file, symbol, &reason), nullptr);
  return std::string(reason.view());
}

// A file beside this program, in which OpenPlugin() lies here. Gone with the object. Each has a
// name of its own: the loader remembers the names of what it has loaded.
class FileBesideThisProgram {
 public:
  FileBesideThisProgram()
      : name_("plugin_test." + std::to_string(getpid()) + "." + std::to_string(count_++) + ".so"),
        path_(std::filesystem::read_symlink("/proc/self/exe").parent_path() / name_) {}
  ~FileBesideThisProgram() { std::filesystem::remove(path_); }

  const char* name() const { return name_.c_str(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  static inline int count_ = 0;
  const std::string name_;
  const std::filesystem::path path_;
};

TEST(PluginTest, WhereTheLoaderLooks) {
  Message reason;
  auto* cosine = reinterpret_cast<double (*)(double)>(OpenPlugin(kSystemLibrary, "cos", &reason));
  ASSERT_NE(cosine, nullptr) << reason.view();
  EXPECT_EQ(cosine(0), 1);
  EXPECT_EQ(reason.view(), "");
}

TEST(PluginTest, BesideThisProgram) {
  Dl_info libm;
  ASSERT_NE(dladdr(dlsym(dlopen(kSystemLibrary, RTLD_NOW), "cos"), &libm), 0);
  const FileBesideThisProgram file;
  std::filesystem::copy_file(libm.dli_fname, file.path());
  Message reason;
  void* cosine = OpenPlugin(file.name(), "cos", &reason);
  ASSERT_NE(cosine, nullptr) << reason.view();
  Dl_info copy;
  ASSERT_NE(dladdr(cosine, &copy), 0);
  EXPECT_TRUE(std::filesystem::equivalent(copy.dli_fname, file.path()));
}

TEST(PluginTest, AMissingLibraryIsNamed) {
  EXPECT_THAT(Reason("libnumaheap-no-such-plugin.so", "start"),
              HasSubstr("libnumaheap-no-such-plugin.so"));
}

TEST(PluginTest, AMissingSymbolIsNamed) {
  EXPECT_THAT(Reason(kSystemLibrary, "numaheap_no_such_symbol"),
              HasSubstr("numaheap_no_such_symbol"));
}

TEST(PluginTest, ALibraryThatCantBeLoadedIsNotCalledMissing) {
  const FileBesideThisProgram file;
  std::ofstream(file.path()) << "no library\n";
  const std::string reason = Reason(file.name(), "start");
  EXPECT_THAT(reason, HasSubstr(file.name()));
  EXPECT_THAT(reason, Not(HasSubstr("No such file")));
}

TEST(PluginTest, APathThatIsTooLongIsRefused) {
  const std::string name(PATH_MAX, 'x');
  EXPECT_NE(Reason(name.c_str(), "start"), "");
}

TEST(PluginTest, TheReasonIsAppended) {
  Message reason;
  reason << "no metrics: ";
  EXPECT_EQ(OpenPlugin("libnumaheap-no-such-plugin.so", "start", &reason), nullptr);
  EXPECT_THAT(std::string(reason.view()), testing::StartsWith("no metrics: libnumaheap-"));
}

}  // namespace
}  // namespace numaheap
