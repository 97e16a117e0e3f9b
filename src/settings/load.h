// LoadSettings: the settings file and the environment, one after the other, into one Settings.
//
// Called once, while the process starts, from one thread. Allocates nothing itself; the plugin
// does. Looks up nothing: the composition root hands in what the environment says.
#pragma once

#include "src/base/message.h"
#include "src/settings/line_sink.h"
#include "src/settings/settings.h"
#include "src/settings/toml/toml_plugin.h"

namespace numaheap {

struct SettingsSources {
  const char* options = nullptr;  // NUMAHEAP_OPTIONS; null: not set
  const char* config = nullptr;   // NUMAHEAP_CONFIG, a path; null or "": not set
  const char* default_config = "/etc/numaheap.toml";  // read if `config` is not set; may be missing
  bool secure = false;  // the program has more rights than who started it (AT_SECURE): read nothing
  // Loads libnumaheap-toml.so and returns its entry, or appends why not to `reason` and returns
  // null. Called at most once, and only if there is a file to read.
  TomlRead (*open_toml)(Message& reason) = nullptr;
};

struct LoadedSettings {
  Settings settings;
  int mistakes = 0;  // each was reported

  // The caller's to obey, once it has reported everything. on_error counts wherever it stands,
  // also after the mistake; but a file that isn't TOML says nothing, this option included.
  bool must_stop() const { return mistakes > 0 && settings.on_error == OnError::kAbort; }
};

// The defaults, changed by the file, changed by NUMAHEAP_OPTIONS. Each mistake becomes one line
// "numaheap: FILE:LINE:COLUMN: what is wrong; what would be right" to `report`, leaves its option
// as it was, and does not stop the rest. FILE is NUMAHEAP_OPTIONS where the mistake stands there.
// Keeps errno.
LoadedSettings LoadSettings(const SettingsSources& sources, const LineSink& report);

}  // namespace numaheap
