#include "src/settings/load.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "src/settings/environment.h"
#include "src/settings/option.h"

namespace numaheap {
namespace {

constexpr std::string_view kOptionsName = "NUMAHEAP_OPTIONS";

// A file's name in front of a message. Of a long path the end tells more than the beginning, and
// the message must fit behind it.
struct SourceName {
  std::string_view text;
};
Message& operator<<(Message& out, SourceName name) {
  constexpr size_t kShown = 200;
  if (name.text.size() > kShown) {
    out << "...";
    name.text.remove_prefix(name.text.size() - kShown);
  }
  return out << name.text;
}

class Loader {
 public:
  explicit Loader(const LineSink& report) : report_(report) {}

  // `named`: NUMAHEAP_CONFIG asks for it, so it has to be there.
  void ReadFile(const char* path, bool named, TomlRead (*open_toml)(Message&)) {
    source_ = path;
    const int fd = OpenFile(path);
    if (fd < 0) {
      if (named || errno != ENOENT) ReportUnopened(named, errno);
      return;
    }
    Message reason;
    if (const TomlRead read_toml = open_toml(reason); read_toml != nullptr) {
      read_toml(fd, {this, &OnEntry, &OnError});
    } else {
      Message what;
      what << "can't be read: " << reason.view();
      OnError(this, {}, what.view());
    }
    close(fd);
  }

  void ReadEnvironment(std::string_view text) {
    ReadOptions(text, loaded_.settings, {this, &OnMistake});
  }

  const LoadedSettings& loaded() const { return loaded_; }

 private:
  // Returns a descriptor, or -1 with errno.
  static int OpenFile(const char* path) {
    int fd;
    do {
      fd = open(path, O_RDONLY | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    return fd;
  }

  void ReportUnopened(bool named, int reason) {
    Message what;
    what << "can't be opened: " << strerrordesc_np(reason)
         << (named ? "; set NUMAHEAP_CONFIG to a file that can be read, or unset it"
                   : "; make it readable, or remove it");
    Report(source_, {}, what.view());
  }

  void Report(std::string_view source, TextPosition position, std::string_view what) {
    ++loaded_.mistakes;
    Message line;
    line << "numaheap: " << SourceName{source} << ':' << position.line << ':' << position.column
         << ": " << what;
    report_(line.view());
  }

  static void OnEntry(void* self, const TomlEntry& entry) {
    Loader& loader = *static_cast<Loader*>(self);
    Message what;
    switch (SetOption(loader.loaded_.settings, entry.key, entry.value, what)) {
      case SetResult::kDone:
        return;
      case SetResult::kWrongKey:
        return loader.Report(loader.source_, entry.key_position, what.view());
      case SetResult::kWrongValue:
        return loader.Report(loader.source_, entry.value_position, what.view());
    }
  }

  static void OnError(void* self, TextPosition position, std::string_view text) {
    Loader& loader = *static_cast<Loader*>(self);
    Message what;
    what << text << "; nothing in this file is used";
    loader.Report(loader.source_, position, what.view());
  }

  static void OnMistake(void* self, size_t column, std::string_view what) {
    static_cast<Loader*>(self)->Report(kOptionsName, {1, static_cast<uint32_t>(column)}, what);
  }

  const LineSink& report_;
  std::string_view source_;  // the file that is being read
  LoadedSettings loaded_;
};

}  // namespace

LoadedSettings LoadSettings(const SettingsSources& sources, const LineSink& report) {
  Loader loader(report);
  if (sources.secure) return loader.loaded();
  const int saved_errno = errno;
  const bool named = sources.config != nullptr && sources.config[0] != '\0';
  loader.ReadFile(named ? sources.config : sources.default_config, named, sources.open_toml);
  if (sources.options != nullptr) loader.ReadEnvironment(sources.options);
  errno = saved_errno;
  return loader.loaded();
}

}  // namespace numaheap
