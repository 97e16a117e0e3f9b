#include "src/settings/environment.h"

#include "src/settings/option.h"

namespace numaheap {
namespace {

constexpr bool IsBlank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

class OptionsReader {
 public:
  OptionsReader(std::string_view text, Settings& settings, const MistakeSink& mistakes)
      : text_(text), settings_(settings), mistakes_(mistakes) {}

  void Read() {
    for (;;) {
      SkipBlanks();
      if (AtEnd()) return;
      if (text_[at_] != ',') ReadItem();
      at_ = FindComma();
      if (AtEnd()) return;
      ++at_;
    }
  }

 private:
  bool AtEnd() const { return at_ >= text_.size(); }
  void SkipBlanks() {
    while (!AtEnd() && IsBlank(text_[at_])) ++at_;
  }
  size_t FindComma() const {
    const size_t comma = text_.find(',', at_);
    return comma < text_.size() ? comma : text_.size();
  }
  // The text from `from` up to `to`, without the blanks at its end.
  std::string_view Slice(size_t from, size_t to) const {
    while (to > from && IsBlank(text_[to - 1])) --to;
    return {text_.data() + from, to - from};
  }
  void Report(size_t offset, const Message& what) {
    mistakes_.mistake(mistakes_.context, offset + 1, what.view());
  }

  // Leaves at_ before the comma that ends the item, or within what was not understood.
  void ReadItem() {
    const size_t key_at = at_;
    const size_t equals = text_.find('=', at_);
    if (equals >= FindComma()) {
      const std::string_view key = Slice(key_at, FindComma());
      Message what;
      AppendQuoted(key, what);
      what << " has no value; write " << NearestOption(key).key << "=VALUE";
      Report(key_at, what);
      return;
    }
    const std::string_view key = Slice(key_at, equals);
    at_ = equals + 1;
    SkipBlanks();
    const size_t value_at = at_;
    OptionValue value;
    if (!ReadValue(value)) return;
    Message what;
    switch (SetOption(settings_, key, value, what)) {
      case SetResult::kDone:
        return;
      case SetResult::kWrongKey:
        return Report(key_at, what);
      case SetResult::kWrongValue:
        return Report(value_at, what);
    }
  }

  bool ReadValue(OptionValue& value) {
    if (AtEnd() || text_[at_] != '"') {
      value.text = Slice(at_, FindComma());
      return true;
    }
    const size_t open = at_;
    const size_t close = text_.find('"', open + 1);
    if (close == std::string_view::npos) {
      at_ = text_.size();  // where it was meant to end, nobody knows
      Message what;
      what << "the quote is not closed; write \"VALUE\"";
      Report(open, what);
      return false;
    }
    value.text = {text_.data() + open + 1, close - open - 1};
    at_ = close + 1;
    SkipBlanks();
    if (AtEnd() || text_[at_] == ',') return true;
    Message what;
    what << "text after the closing quote; write a comma before the next option";
    Report(at_, what);
    return false;
  }

  const std::string_view text_;
  Settings& settings_;
  const MistakeSink& mistakes_;
  size_t at_ = 0;
};

}  // namespace

void ReadOptions(std::string_view text, Settings& settings, const MistakeSink& mistakes) {
  OptionsReader(text, settings, mistakes).Read();
}

}  // namespace numaheap
