#include "exporters/command/svg_picture.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace numaheap::command {
namespace {

// Pixels.
constexpr int kMargin = 24;
constexpr int kLabelWidth = 76;
constexpr int kColumns = 128, kRows = 48;  // cells, at most
constexpr int kPitch = 7, kSide = 6;       // of a cell
constexpr int kMapWidth = kColumns * kPitch - (kPitch - kSide);
constexpr int kMapLeft = kMargin + kLabelWidth;
constexpr int kLegendLeft = kMapLeft + kMapWidth + 32;
constexpr int kLegendWidth = 272;
constexpr int kWidth = kLegendLeft + kLegendWidth + kMargin;
constexpr int kBarHeight = 14;
constexpr int kLineHeight = 21;
constexpr int kLegendHeight = (static_cast<int>(kKindCount) + 2) * kLineHeight;

std::string Escaped(std::string_view text) {
  return absl::StrReplaceAll(absl::string_view(text.data(), text.size()),
                             {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

std::string Colour(uint32_t rgb) {
  return absl::StrFormat("#%06x", rgb);
}

void Text(int x, int y, std::string_view style, std::string_view text, std::string* out) {
  absl::StrAppendFormat(out, "<text x=\"%d\" y=\"%d\" class=\"%s\">%s</text>\n", x, y, style,
                        Escaped(text));
}

void Rect(double x, double y, double width, double height, uint32_t colour, std::string* out) {
  absl::StrAppendFormat(
      out, "<rect x=\"%.5g\" y=\"%.5g\" width=\"%.5g\" height=\"%.5g\" fill=\"%s\"/>\n", x, y,
      width, height, Colour(colour));
}

// The kinds' shares of what is committed, side by side.
void DrawBar(const Totals& totals, int y, std::string* out) {
  double x = kMapLeft;
  for (size_t i = 0; i < kKindCount; ++i) {
    if (totals.bytes[i] == 0 || static_cast<Kind>(i) == Kind::kReserved) continue;
    const double width =
        kMapWidth * static_cast<double>(totals.bytes[i]) / static_cast<double>(totals.committed);
    Rect(x, y, width, kBarHeight, kKinds[i].colour, out);
    x += width;
  }
}

// One path per colour: thousands of cells make a small file.
class Map {
 public:
  Map(int x, int y) : x_(x), y_(y) {}

  void Add(size_t number, const Cell& cell) {
    const int x = x_ + static_cast<int>(number % kColumns) * kPitch;
    const int y = y_ + static_cast<int>(number / kColumns) * kPitch;
    const auto kind = static_cast<size_t>(cell.kind);
    const int alive = static_cast<int>(std::lround(cell.live * kSide));
    const int height = std::clamp(alive, cell.live > 0 ? 1 : 0, cell.live < 1 ? kSide - 1 : kSide);
    if (height < kSide) Square(x, y, kSide - height, &tints_[kind]);
    if (height > 0) Square(x, y + kSide - height, height, &colours_[kind]);
  }

  // Addresses behind what is committed.
  void AddReserved(size_t number) {
    const int x = x_ + static_cast<int>(number % kColumns) * kPitch;
    const int y = y_ + static_cast<int>(number / kColumns) * kPitch;
    absl::StrAppendFormat(&reserved_, "M%d.5 %d.5h%dv%dh-%dz", x, y, kSide - 1, kSide - 1,
                          kSide - 1);
  }

  void Write(std::string* out) const {
    absl::StrAppend(out, "<path class=\"reserved\" d=\"", reserved_, "\"/>\n");
    for (size_t i = 0; i < kKindCount; ++i) {
      Path(tints_[i], kKinds[i].tint, out);
      Path(colours_[i], kKinds[i].colour, out);
    }
  }

 private:
  static void Square(int x, int y, int height, std::string* path) {
    absl::StrAppendFormat(path, "M%d %dh%dv%dh-%dz", x, y, kSide, height, kSide);
  }
  static void Path(const std::string& path, uint32_t colour, std::string* out) {
    if (!path.empty()) {
      absl::StrAppend(out, "<path fill=\"", Colour(colour), "\" d=\"", path, "\"/>\n");
    }
  }

  const int x_, y_;
  std::string colours_[kKindCount], tints_[kKindCount], reserved_;
};

void DrawLegend(const Totals& totals, const HeapPicture& picture, int y, std::string* out) {
  for (size_t i = 0; i < kKindCount; ++i) {
    if (static_cast<Kind>(i) == Kind::kUnknown && totals.bytes[i] == 0) continue;
    const std::string_view style = totals.bytes[i] == 0 ? "none" : "row";
    if (static_cast<Kind>(i) == Kind::kReserved) {
      absl::StrAppendFormat(out, "<path class=\"reserved\" d=\"M%d.5 %d.5h11v11h-11z\"/>\n",
                            kLegendLeft, y - 10);
    } else {
      Rect(kLegendLeft, y - 10, 12, 12, kKinds[i].colour, out);
    }
    Text(kLegendLeft + 20, y, style, kKinds[i].label, out);
    Text(kLegendLeft + 184, y, absl::StrCat(std::string(style), " right"),
         totals.bytes[i] == 0 ? "–" : BytesText(totals.bytes[i]), out);
    if (static_cast<Kind>(i) < Kind::kLarge && totals.bytes[i] > 0) {
      Text(kLegendLeft + kLegendWidth, y, "row right",
           absl::StrFormat("%.0f%% alive", 100.0 * static_cast<double>(totals.live[i]) /
                                               static_cast<double>(totals.bytes[i])),
           out);
    }
    y += kLineHeight;
  }
  Text(kLegendLeft, y + 6, "note",
       absl::StrCat("One square is ", BytesText(picture.cell_bytes), ", filled as far as"), out);
  Text(kLegendLeft, y + 22, "note", "its objects are alive (in use or cached).", out);
}

// Returns where the next one may begin.
int DrawHeap(const HeapRecord& heap, int y, std::string* out) {
  const Totals totals = TotalsOf(heap);
  const HeapPicture picture = PictureOf(heap, size_t{kColumns} * kRows);
  const std::string name = heap.node < 0 ? "interleaved heap" : "node " + NodeName(heap.node);
  Text(kMargin, y + 16, "node", name, out);
  Text(kMapLeft + (heap.node < 0 ? 64 : 0), y + 16, "totals", TotalsText(totals), out);
  y += 30;
  if (picture.cells.empty()) return y + 10;
  DrawBar(totals, y, out);
  const int top = y + kBarHeight + 12;
  Map map(kMapLeft, top);
  const size_t rows = (picture.cells.size() + kColumns - 1) / kColumns;
  for (size_t i = 0; i < picture.cells.size(); ++i) map.Add(i, picture.cells[i]);
  if (totals.Of(Kind::kReserved) > 0) {
    // The rest of the last row, and one more to say that the range goes on.
    for (size_t i = picture.cells.size(); i < (rows + 1) * kColumns; ++i) map.AddReserved(i);
  }
  map.Write(out);
  // Where in the range some of the rows begin.
  const size_t step = rows <= 16 ? 2 : rows <= 24 ? 4 : 8;
  for (size_t row = 0; row < rows; row += step) {
    Text(kMapLeft - 10, top + static_cast<int>(row) * kPitch + 8, "address right",
         BytesText(row * kColumns * picture.cell_bytes), out);
  }
  DrawLegend(totals, picture, y + 11, out);
  return std::max(top + static_cast<int>(rows + 1) * kPitch, y + kLegendHeight) + 28;
}

}  // namespace

std::string DrawAsSvg(const std::vector<HeapRecord>& heaps, std::string_view title) {
  std::string body;
  int y = kMargin;
  Text(kMargin, y + 16, "title", title, &body);
  y += 44;
  for (const HeapRecord& heap : heaps) y = DrawHeap(heap, y, &body);
  return absl::StrCat(
      absl::StrFormat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                      "viewBox=\"0 0 %d %d\" role=\"img\">\n",
                      kWidth, y, kWidth, y),
      "<title>", Escaped(title), "</title>\n",
      "<style>\n"
      "text { font-family: system-ui, 'DejaVu Sans', sans-serif; font-size: 13px; fill: #2b3440 }\n"
      ".title { font-size: 20px; font-weight: 600 }\n"
      ".node { font-size: 15px; font-weight: 600 }\n"
      ".totals, .row { fill: #3c4653 }\n"
      ".none { fill: #a4adb8 }\n"
      ".address { font-size: 11px; fill: #76818e }\n"
      ".note { font-size: 11px; fill: #76818e }\n"
      ".right { text-anchor: end }\n"
      ".reserved { fill: none; stroke: #dde1e6 }\n"
      "</style>\n",
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n", body, "</svg>\n");
}

}  // namespace numaheap::command
