// configs/numaheap.toml says what the table of options says.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "src/settings/option.h"
#include "src/settings/quantity.h"
#include "src/settings/toml/toml_plugin.h"

namespace numaheap {
namespace {

std::filesystem::path ConfigPath() {
  return std::filesystem::path(__FILE__).parent_path() / "../../configs/numaheap.toml";
}

// Key -> value as written, a string's in quotes.
using Entries = std::map<std::string, std::string>;

void AddEntry(void* entries, const TomlEntry& entry) {
  const std::string text(entry.value.text);
  (*static_cast<Entries*>(entries))[std::string(entry.key)] =
      entry.value.type == ValueType::kString ? '"' + text + '"' : text;
}

void FailWith(void*, TextPosition position, std::string_view what) {
  ADD_FAILURE() << position.line << ":" << position.column << ": " << what;
}

TEST(DefaultConfigTest, HasEveryOptionWithItsDefaultAndNoOther) {
  const int fd = open(ConfigPath().c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0) << ConfigPath();
  Entries entries;
  numaheap_toml_read(fd, {&entries, &AddEntry, &FailWith});
  close(fd);

  Entries expected;
  for (const Option& option : Options()) {
    Message value;
    AppendValue(Settings{}, option, value);
    expected[std::string(option.key)] = std::string(value.view());
  }
  EXPECT_EQ(entries, expected);
}

// The file's words, line ends and comment signs left out.
std::string Words() {
  std::ifstream file(ConfigPath());
  std::string words, word;
  while (file >> word) {
    if (word != "#") words += word + " ";
  }
  return words;
}

std::string Limits(const Option& option) {
  Message out;
  switch (option.kind) {
    case OptionKind::kText:
      return "";
    case OptionKind::kChoice:
    case OptionKind::kSwitch:
      out << "One of: ";
      for (char c : option.names) out << (c == ',' ? ", " : std::string(1, c).c_str());
      break;
    case OptionKind::kSize:
    case OptionKind::kDuration: {
      const QuantityKind kind =
          option.kind == OptionKind::kSize ? QuantityKind::kSize : QuantityKind::kDuration;
      out << "From ";
      AppendQuantity(kind, option.min, out);
      out << " to ";
      AppendQuantity(kind, option.max, out);
      break;
    }
  }
  return std::string((out << ". ").view());
}

TEST(DefaultConfigTest, ExplainsEachOptionAsTheTableDoes) {
  const std::string words = Words();
  for (const Option& option : Options()) {
    const std::string key(option.key);
    const std::string explained =
        std::string(option.doc) + " " + Limits(option) + key.substr(key.rfind('.') + 1) + " = ";
    EXPECT_NE(words.find(explained), std::string::npos) << explained;
  }
}

}  // namespace
}  // namespace numaheap
