#include "src/settings/load.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "src/settings/option.h"

namespace numaheap {
namespace {

using Lines = std::vector<std::string>;

void Append(void* lines, std::string_view text) {
  static_cast<Lines*>(lines)->emplace_back(text);
}

int g_opened = 0;  // how often the plugin was asked for

TomlRead OpenToml(Message&) {
  ++g_opened;
  return &numaheap_toml_read;
}

TomlRead FailToOpenToml(Message& reason) {
  reason << "libnumaheap-toml.so: not installed";
  return nullptr;
}

class LoadTest : public testing::Test {
 protected:
  LoadTest() {
    std::string name = (std::filesystem::temp_directory_path() / "numaheap-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    path_ = folder_ + "/numaheap.toml";
    missing_ = folder_ + "/missing.toml";
    sources_.default_config = missing_.c_str();
    sources_.open_toml = &OpenToml;
    g_opened = 0;
  }
  ~LoadTest() override { std::filesystem::remove_all(folder_); }

  // Makes `content` the file that NUMAHEAP_CONFIG names.
  void Config(std::string_view content) {
    std::ofstream(path_, std::ios::binary) << content;
    sources_.config = path_.c_str();
  }

  // The reported lines, with the folder's name left out.
  LoadedSettings Load() {
    lines_.clear();
    const LoadedSettings loaded = LoadSettings(sources_, {&lines_, &Append});
    EXPECT_EQ(loaded.mistakes, static_cast<int>(lines_.size()));
    for (std::string& line : lines_) {
      if (const size_t at = line.find(folder_ + "/"); at != std::string::npos) {
        line.erase(at, folder_.size() + 1);
      }
    }
    return loaded;
  }

  std::string folder_, path_, missing_;
  SettingsSources sources_;
  Lines lines_;
};

TEST_F(LoadTest, WithoutSourcesTheDefaultsHoldAndNoPluginIsOpened) {
  const LoadedSettings loaded = Load();
  EXPECT_EQ(lines_, Lines{});
  EXPECT_EQ(loaded.settings.cache_bytes_per_cpu, 2 << 20);
  EXPECT_EQ(g_opened, 0);
}

TEST_F(LoadTest, ReadsTheFileThatIsNamed) {
  Config(
      "on_error = 'abort'\n"
      "[cache]\n"
      "mode = \"locked\"\n"
      "bytes_per_cpu = 1_048_576\n"
      "[scavenger]\n"
      "idle_after = '500ms'\n"
      "start_at = '1.5 MiB'\n"
      "[placement]\n");
  const LoadedSettings loaded = Load();
  EXPECT_EQ(lines_, Lines{});
  EXPECT_EQ(loaded.settings.on_error, OnError::kAbort);
  EXPECT_EQ(loaded.settings.cache_mode, CacheMode::kLocked);
  EXPECT_EQ(loaded.settings.cache_bytes_per_cpu, 1 << 20);
  EXPECT_EQ(loaded.settings.scavenger_idle_after, 500);
  EXPECT_EQ(loaded.settings.scavenger_start_at, 3 << 19);
  EXPECT_FALSE(loaded.must_stop());
}

TEST_F(LoadTest, ReadsTheDefaultFileOnlyIfNoneIsNamed) {
  Config("cache.mode = 'rseq'\n");
  const std::string other = folder_ + "/other.toml";
  std::ofstream(other) << "cache.mode = 'locked'\n";
  sources_.default_config = other.c_str();
  EXPECT_EQ(Load().settings.cache_mode, CacheMode::kRseq);
  for (const char* not_set : {static_cast<const char*>(nullptr), ""}) {
    sources_.config = not_set;
    EXPECT_EQ(Load().settings.cache_mode, CacheMode::kLocked);
  }
}

TEST_F(LoadTest, TheEnvironmentWins) {
  Config("cache.mode = 'rseq'\ncache.bytes_per_cpu = '1 MiB'\n");
  sources_.options = "cache.mode=locked";
  const LoadedSettings loaded = Load();
  EXPECT_EQ(lines_, Lines{});
  EXPECT_EQ(loaded.settings.cache_mode, CacheMode::kLocked);
  EXPECT_EQ(loaded.settings.cache_bytes_per_cpu, 1 << 20);
}

TEST_F(LoadTest, ASecureProgramReadsNothing) {
  Config("cache.mode = 'rseq'\nwrong = 1\n");
  sources_.default_config = path_.c_str();
  sources_.options = "cache.bytes_per_cpu=1 MiB,wrong=1";
  sources_.secure = true;
  const LoadedSettings loaded = Load();
  EXPECT_EQ(lines_, Lines{});
  EXPECT_EQ(g_opened, 0);
  EXPECT_EQ(loaded.settings.cache_mode, CacheMode::kAuto);
  EXPECT_EQ(loaded.settings.cache_bytes_per_cpu, 2 << 20);
}

TEST_F(LoadTest, EveryMistakeIsReportedWhereItStandsInTheFilesOrder) {
  Config(
      "on_eror = 'abort'\n"
      "\n"
      "[scavenger]\n"
      "  idle_after = 10\n"
      "start_at   =   'much'\n"
      "[cache]\n"
      "mode = 'fast'\n"
      "bytes_per_cpu = 1024\n"
      "\"ways.of\" = 2\n"
      "[[metrics]]\n"
      "listen = 'x'\n"
      "[placment]\n");
  sources_.options = "cache.mode=rseq,cache.mode=quick";
  const LoadedSettings loaded = Load();
  EXPECT_EQ(
      lines_,
      (Lines{
          "numaheap: numaheap.toml:1:1: unknown option \"on_eror\"; the nearest is \"on_error\"",
          "numaheap: numaheap.toml:4:16: scavenger.idle_after: 10 has no unit; write a string such "
          "as \"500ms\", \"10s\" or \"2m\"; it stays \"10s\"",
          "numaheap: numaheap.toml:5:16: scavenger.start_at: \"much\" is not a size; write bytes "
          "or a string such as \"64 KiB\", \"1.5 MiB\" or \"2 GiB\"; it stays \"32 MiB\"",
          "numaheap: numaheap.toml:7:8: cache.mode: \"fast\" is not known; write one of these "
          "strings: auto, rseq, locked; it stays \"auto\"",
          "numaheap: numaheap.toml:8:17: cache.bytes_per_cpu: 1024 is out of range; write 64 KiB "
          "to 256 MiB; it stays \"2 MiB\"",
          "numaheap: numaheap.toml:9:1: unknown option \"cache.'ways.of'\"; the nearest is "
          "\"cache.mode\"",
          "numaheap: numaheap.toml:10:3: \"metrics\" is a table of options, not an option; the "
          "nearest is \"metrics.listen\"",
          "numaheap: numaheap.toml:12:2: unknown option \"placment\"; the nearest is "
          "\"placement.policy\"",
          "numaheap: NUMAHEAP_OPTIONS:1:28: cache.mode: \"quick\" is not known; write one of these "
          "strings: auto, rseq, locked; it stays \"rseq\"",
      }));
  EXPECT_FALSE(loaded.must_stop());
  EXPECT_EQ(loaded.settings.cache_bytes_per_cpu, 2 << 20);
}

TEST_F(LoadTest, ADottedKeyInQuotesIsNotTheOption) {
  Config("'cache.mode' = 'rseq'\n");
  EXPECT_EQ(Load().settings.cache_mode, CacheMode::kAuto);
  EXPECT_EQ(lines_, (Lines{"numaheap: numaheap.toml:1:1: unknown option \"'cache.mode'\"; the "
                           "nearest is \"cache.mode\""}));
}

TEST_F(LoadTest, AFileThatIsNotTomlIsReportedAndNotUsed) {
  Config("cache.mode = 'rseq'\non_error = \n");
  const LoadedSettings loaded = Load();
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_EQ(lines_[0].rfind("numaheap: numaheap.toml:2:12: ", 0), 0u) << lines_[0];
  EXPECT_NE(lines_[0].find("; nothing in this file is used"), std::string::npos) << lines_[0];
  EXPECT_EQ(loaded.settings.cache_mode, CacheMode::kAuto);
}

TEST_F(LoadTest, CharactersBeyondAsciiCountOnceAndFitOnlyComments) {
  Config("\xEF\xBB\xBF# gr\u00fc\u00dfe \u2028 \U0001F600\ncache.mode = 'rseq' # \u00a7\n");
  EXPECT_EQ(Load().settings.cache_mode, CacheMode::kRseq);
  EXPECT_EQ(lines_, Lines{});

  Config("cache = { mode = 'rseq', '\u00e9\u4e2d' = 1, bytes_per_cpu = 1 }\n");
  Load();
  EXPECT_EQ(lines_.size(), 2u);
  EXPECT_EQ(lines_.back().rfind("numaheap: numaheap.toml:1:52: cache.bytes_per_cpu: 1 is ", 0), 0u)
      << lines_.back();

  Config("metrics.listen = 'caf\u00e9:80'\n");
  EXPECT_STREQ(Load().settings.metrics_listen, "");
  EXPECT_EQ(lines_.size(), 1u);
}

// Where toml++ 3.3 aborts or meets undefined behaviour if nothing is done: the ubsan preset tells.
TEST_F(LoadTest, WhatConfusesTheParserIsAMistakeLikeOthers) {
  for (const char* file : {"\u00a7", "a = \u00a7", "s = \"\"\"\\\n\u00a7\"\"\"\n", "[\u2100]",
                           "\xc2", "a = '\xff'", "[.a]", "[", "[[.a]]", "[a.]", "\xe2\x80"}) {
    Config(file);
    EXPECT_EQ(Load().mistakes, 1) << file;
  }
}

TEST_F(LoadTest, AFileThatIsMissingIsAMistakeOnlyIfItIsNamed) {
  sources_.config = missing_.c_str();
  errno = EBUSY;
  Load();
  EXPECT_EQ(errno, EBUSY);
  EXPECT_EQ(lines_, (Lines{"numaheap: missing.toml:1:1: can't be opened: No such file or "
                           "directory; set NUMAHEAP_CONFIG to a file that can be read, or unset "
                           "it"}));
  EXPECT_EQ(g_opened, 0);
}

TEST_F(LoadTest, AFolderIsNotAFile) {
  sources_.default_config = folder_.c_str();
  Load();
  EXPECT_EQ(lines_, (Lines{"numaheap: " + folder_ +
                           ":1:1: can't be read: Is a directory; nothing "
                           "in this file is used"}));
}

TEST_F(LoadTest, AFileWithoutEndIsRefused) {
  sources_.config = "/dev/zero";
  Load();
  EXPECT_EQ(lines_, (Lines{"numaheap: /dev/zero:1:1: can't be read: File too large; nothing in "
                           "this file is used"}));
}

TEST_F(LoadTest, APluginThatIsMissingIsReported) {
  Config("cache.mode = 'rseq'\n");
  sources_.open_toml = &FailToOpenToml;
  sources_.options = "on_error=abort";
  const LoadedSettings loaded = Load();
  EXPECT_EQ(lines_, (Lines{"numaheap: numaheap.toml:1:1: can't be read: libnumaheap-toml.so: not "
                           "installed; nothing in this file is used"}));
  EXPECT_TRUE(loaded.must_stop());
}

TEST_F(LoadTest, OnErrorCountsWhereverItStands) {
  Config("wrong = 1\non_error = 'abort'\n");
  EXPECT_TRUE(Load().must_stop());
  Config("on_error = 'abort'\nwrong = 1\n");
  EXPECT_TRUE(Load().must_stop());
  sources_.options = "on_error=continue";
  EXPECT_FALSE(Load().must_stop());
  Config("wrong = 1\n");
  sources_.options = "wrong=1,on_error=abort";
  EXPECT_TRUE(Load().must_stop());
  Config("on_error = 'abort'\n");
  sources_.options = "wrong=1";
  EXPECT_TRUE(Load().must_stop());
  sources_.options = nullptr;
  EXPECT_FALSE(Load().must_stop()) << "no mistake, no reason to stop";
}

TEST_F(LoadTest, OfALongPathTheEndIsShown) {
  std::string deep = folder_;
  for (int i = 0; i < 5; ++i) deep += "/" + std::string(100, 'd');
  deep += "/missing.toml";
  sources_.config = deep.c_str();
  LoadedSettings loaded = LoadSettings(sources_, {&lines_, &Append});
  ASSERT_EQ(loaded.mistakes, 1);
  EXPECT_EQ(lines_[0].rfind("numaheap: ...", 0), 0u) << lines_[0];
  EXPECT_NE(lines_[0].find("/missing.toml:1:1: can't be opened"), std::string::npos) << lines_[0];
}

// What the dump says is a settings file that gives the same settings.
TEST_F(LoadTest, TheDumpIsAFileThatSaysTheSame) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 200; ++i) {
    std::string options;
    for (const Option& option : Options()) {
      if (option.kind == OptionKind::kSize || option.kind == OptionKind::kDuration) {
        const int64_t value =
            option.min + static_cast<int64_t>(random() % (option.max - option.min + 1));
        options += std::string(option.key) + "=" + std::to_string(value) +
                   (option.kind == OptionKind::kSize ? "," : "ms,");
      } else if (option.kind == OptionKind::kText) {
        std::string text;
        for (size_t n = random() % kTextBytes; n > 0; --n) {
          const char c = static_cast<char>(' ' + random() % 95);
          text += c == '"' || c == '\\' ? ',' : c;
        }
        options += std::string(option.key) + "=\"" + text + "\",";
      } else {
        size_t at = 0;  // a random one of the names
        for (int64_t n = random() % (option.max + 1); n > 0; --n) {
          at = option.names.find(',', at) + 1;
        }
        options += std::string(option.key) + "=" +
                   std::string(option.names.substr(at, option.names.find(',', at) - at)) + ",";
      }
    }
    sources_.config = nullptr;
    sources_.options = options.c_str();
    const LoadedSettings first = Load();
    ASSERT_EQ(lines_, Lines{}) << options;
    Lines dump;
    DumpSettings(first.settings, {&dump, &Append});

    std::string file;
    for (const std::string& line : dump) file += line + "\n";
    Config(file);
    sources_.options = nullptr;
    const LoadedSettings second = Load();
    ASSERT_EQ(lines_, Lines{}) << file;
    Lines dump_again;
    DumpSettings(second.settings, {&dump_again, &Append});
    ASSERT_EQ(dump, dump_again);
  }
}

// Random files: reading ends, and each mistake is one line that names the file and a place in it.
TEST_F(LoadTest, RandomFilesAreReadToTheirEnd) {
  std::mt19937 random(5);
  const std::string_view pieces[] = {"cache",
                                     ".",
                                     "mode",
                                     "=",
                                     " = ",
                                     "'rseq'",
                                     "\"2 MiB\"",
                                     "\n",
                                     "[",
                                     "]",
                                     "[[",
                                     "]]",
                                     "{",
                                     "}",
                                     ",",
                                     "1",
                                     "-1.5",
                                     "true",
                                     "on_error",
                                     "\"",
                                     "#",
                                     "[cache]\n",
                                     "mode = 'rseq'\n",
                                     "1979-05-27",
                                     "\xff",
                                     "\\u0000",
                                     "[metrics]\nlisten = '",
                                     "\xc3\xa9",
                                     "a = [1, 'x']\n",
                                     "b = {c = 1}\n"};
  int read = 0, refused = 0;
  for (int i = 0; i < 3'000; ++i) {
    std::string file;
    for (size_t n = random() % 8; n > 0; --n) file += pieces[random() % std::size(pieces)];
    Config(file);
    const LoadedSettings loaded = Load();
    for (const std::string& line : lines_) {
      ASSERT_EQ(line.rfind("numaheap: numaheap.toml:", 0), 0u) << line;
    }
    ++(loaded.mistakes == 0 ? read : refused);
  }
  EXPECT_GT(read, 100);
  EXPECT_GT(refused, 1'000);
}

}  // namespace
}  // namespace numaheap
