#include "exporters/command/terminal_picture.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace numaheap::command {
namespace {

constexpr size_t kRows = 24;        // at most
constexpr size_t kLabelWidth = 11;  // "  1023 MiB "
constexpr const char* kBlocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

// The nearest of the 6 * 6 * 6 colours that 256-colour terminals agree on.
int CubeColour(uint32_t rgb) {
  const auto step = [rgb](int shift) {
    const int value = static_cast<int>(rgb >> shift & 255);
    return value < 48 ? 0 : value < 115 ? 1 : (value - 35) / 40;
  };
  return 16 + 36 * step(16) + 6 * step(8) + step(0);
}

class Painter {
 public:
  explicit Painter(TerminalStyle::Colours colours) : colours_(colours) {}

  std::string Of(Cell cell) {
    const KindInfo& info = kKinds[static_cast<size_t>(cell.kind)];
    if (colours_ == TerminalStyle::kNone) return std::string(1, info.letter);
    // Something alive is never drawn as nothing, nor something dead as alive.
    const int eighths = static_cast<int>(std::lround(cell.live * 8));
    const int height = std::clamp(eighths, cell.live > 0 ? 1 : 0, cell.live < 1 ? 7 : 8);
    return absl::StrCat(Colour(38, info.colour, &ink_), Colour(48, info.tint, &ground_),
                        kBlocks[height]);
  }

  std::string Reset() {
    ink_ = ground_ = kNoColour;
    return colours_ == TerminalStyle::kNone ? "" : "\033[0m";
  }

 private:
  static constexpr uint32_t kNoColour = UINT32_MAX;

  // What changes to the colour, nothing if it is that already.
  std::string Colour(int ground, uint32_t rgb, uint32_t* now) const {
    if (*now == rgb) return "";
    *now = rgb;
    if (colours_ == TerminalStyle::k256)
      return absl::StrFormat("\033[%d;5;%dm", ground, CubeColour(rgb));
    return absl::StrFormat("\033[%d;2;%d;%d;%dm", ground, rgb >> 16, rgb >> 8 & 255, rgb & 255);
  }

  const TerminalStyle::Colours colours_;
  uint32_t ink_ = kNoColour, ground_ = kNoColour;
};

void DrawHeap(const HeapRecord& heap, const TerminalStyle& style, std::string* out) {
  const Totals totals = TotalsOf(heap);
  absl::StrAppend(out, "node ", NodeName(heap.node), ": ", TotalsText(totals), "\n");
  if (totals.committed == 0) return;
  // Rows as long as a round number of bytes is.
  size_t width = 16;
  while (width * 2 <= std::max<size_t>(style.columns, 32) - kLabelWidth) width *= 2;
  const HeapPicture picture = PictureOf(heap, width * kRows);
  Painter painter(style.colours);
  for (size_t row = 0; row < picture.cells.size(); row += width) {
    absl::StrAppendFormat(out, "%10s ", BytesText(row * picture.cell_bytes));
    const size_t end = std::min(picture.cells.size(), row + width);
    for (size_t i = row; i < end; ++i) out->append(painter.Of(picture.cells[i]));
    out->append(painter.Reset());
    // The range goes on.
    const bool more = totals.Of(Kind::kReserved) > 0;
    if (more) out->append(row + width - end, kKinds[static_cast<size_t>(Kind::kReserved)].letter);
    out->append("\n");
  }
  absl::StrAppend(out, std::string(kLabelWidth, ' '), "one cell: ", BytesText(picture.cell_bytes),
                  "; from ", absl::Hex(picture.start), "\n");
}

// The kinds that are there, with their sums over all heaps.
std::string Legend(const std::vector<HeapRecord>& heaps, const TerminalStyle& style) {
  Totals sum;
  for (const HeapRecord& heap : heaps) {
    const Totals totals = TotalsOf(heap);
    for (size_t i = 0; i < kKindCount; ++i) {
      sum.bytes[i] += totals.bytes[i];
      sum.live[i] += totals.live[i];
    }
  }
  std::string text;
  Painter painter(style.colours);
  for (size_t i = 0; i < kKindCount; ++i) {
    if (sum.bytes[i] == 0) continue;
    const auto kind = static_cast<Kind>(i);
    const std::string cell = kind == Kind::kReserved ? std::string(1, kKinds[i].letter)
                                                     : painter.Of({kind, 1}) + painter.Reset();
    absl::StrAppend(&text, "  ", cell,
                    absl::StrFormat(" %-15s %10s", kKinds[i].label, BytesText(sum.bytes[i])));
    if (kind < Kind::kLarge) {
      absl::StrAppendFormat(
          &text, "  %3.0f%% alive",
          100.0 * static_cast<double>(sum.live[i]) / static_cast<double>(sum.bytes[i]));
    }
    text.push_back('\n');
  }
  return text;
}

}  // namespace

std::string DrawOnTerminal(const std::vector<HeapRecord>& heaps, const TerminalStyle& style) {
  std::string text;
  for (const HeapRecord& heap : heaps) DrawHeap(heap, style, &text);
  return text + Legend(heaps, style);
}

}  // namespace numaheap::command
