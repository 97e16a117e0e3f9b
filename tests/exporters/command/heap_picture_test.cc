// Pictures of a heap that the test makes: which kind each cell is, what the sums are, and what the
// terminal and the SVG file show of it.
#include "exporters/command/heap_picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "exporters/command/svg_picture.h"
#include "exporters/command/terminal_picture.h"

namespace numaheap::command {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr uint64_t kPage = 8192;

class HeapPictureTest : public testing::Test {
 protected:
  HeapPictureTest() {
    heap_.node = 1;
    heap_.page_bytes = kPage;
  }

  void Add(SpanRecord span, uint64_t pages) {
    span.start = (uint64_t{1} << 44) + next_ * kPage;
    span.bytes = pages * kPage;
    next_ += pages;
    heap_.spans.push_back(span);
    heap_.reserved_bytes += span.bytes;
  }
  void AddSmall(uint64_t pages, uint64_t size, uint32_t live) {
    SpanRecord span;
    span.state = NUMAHEAP_SPAN_SMALL;
    span.object_size = size;
    span.objects = static_cast<uint32_t>(pages * kPage / size);
    span.live_objects = live;
    Add(span, pages);
  }
  void AddState(uint64_t pages, uint32_t state, uint64_t released_pages = 0) {
    SpanRecord span;
    span.state = state;
    span.released_bytes = released_pages * kPage;
    if (state == NUMAHEAP_SPAN_PARTLY_RELEASED) {
      const uint64_t start = (uint64_t{1} << 44) + next_ * kPage;
      heap_.runs.push_back({start, (pages - released_pages) * kPage, false});
      heap_.runs.push_back({start + (pages - released_pages) * kPage, span.released_bytes, true});
    }
    if (state == NUMAHEAP_SPAN_LARGE) {
      span.object_size = pages * kPage;
      span.objects = span.live_objects = 1;
    }
    Add(span, pages);
  }
  // 16 pages of each kind and a reserved rest.
  void AddSome() {
    AddSmall(16, 16, 4096);
    AddSmall(16, 512, 256);
    AddState(16, NUMAHEAP_SPAN_LARGE);
    AddState(16, NUMAHEAP_SPAN_IDLE);
    AddState(16, NUMAHEAP_SPAN_PARTLY_RELEASED, 4);
    AddState(16, NUMAHEAP_SPAN_RELEASED, 16);
    AddState(1'000, NUMAHEAP_SPAN_RESERVED);
  }
  std::string Letters(size_t most) {
    std::string text;
    for (const Cell& cell : PictureOf(heap_, most).cells) {
      text += kKinds[static_cast<size_t>(cell.kind)].letter;
    }
    return text;
  }

  HeapRecord heap_;
  uint64_t next_ = 0;
};

TEST_F(HeapPictureTest, KindsOfSmallObjects) {
  for (const auto& [size, kind] : {std::pair(16, Kind::kTo64),
                                   {64, Kind::kTo64},
                                   {80, Kind::kTo256},
                                   {256, Kind::kTo256},
                                   {1024, Kind::kTo1K},
                                   {1152, Kind::kTo4K},
                                   {16384, Kind::kTo16K},
                                   {65536, Kind::kTo64K},
                                   {65537, Kind::kTo256K},
                                   {262144, Kind::kTo256K}}) {
    SpanRecord span;
    span.state = NUMAHEAP_SPAN_SMALL;
    span.object_size = static_cast<uint64_t>(size);
    EXPECT_EQ(KindOf(span), kind) << size;
  }
}

TEST_F(HeapPictureTest, TotalsAddUp) {
  AddSome();
  const Totals totals = TotalsOf(heap_);
  EXPECT_EQ(totals.committed, 96 * kPage);
  EXPECT_EQ(totals.reserved, 1096 * kPage);
  EXPECT_EQ(totals.small, 32 * kPage);
  EXPECT_EQ(totals.live_small, 24 * kPage);
  EXPECT_EQ(totals.Of(Kind::kLarge), 16 * kPage);
  EXPECT_EQ(totals.Of(Kind::kIdle), 28 * kPage);
  EXPECT_EQ(totals.Of(Kind::kReleased), 20 * kPage);
  EXPECT_EQ(totals.Of(Kind::kReserved), 1000 * kPage);
  EXPECT_EQ(totals.in_use() + totals.Of(Kind::kIdle) + totals.Of(Kind::kReleased),
            totals.committed);
  EXPECT_EQ(TotalsText(totals),
            "in use 384 KiB (small 256 KiB, 75% alive; large 128 KiB), idle 224 KiB, released "
            "160 KiB; committed 768 KiB of 8.6 MiB");
}

TEST_F(HeapPictureTest, CellsAreWhatMostOfThemIs) {
  AddSome();
  EXPECT_EQ(Letters(6), "acL.._");
  EXPECT_EQ(Letters(7), "acL.._") << "a cell is a power of two";
  EXPECT_EQ(Letters(3), "aL_") << "of two that have the same the smaller objects, then in use";
  EXPECT_EQ(Letters(24), "aaaaccccLLLL......._____");
  EXPECT_EQ(Letters(100'000).size(), 96u) << "no cell is smaller than a page";
  EXPECT_EQ(PictureOf(heap_, 6).cell_bytes, 16 * kPage);
  EXPECT_EQ(PictureOf(heap_, 6).cells[0].live, 0.5);
  EXPECT_EQ(PictureOf(heap_, 6).cells[1].live, 1);
  EXPECT_EQ(PictureOf(heap_, 0).cells.size(), 0u);
}

TEST_F(HeapPictureTest, OfAnEmptyHeap) {
  AddState(1'000, NUMAHEAP_SPAN_RESERVED);
  EXPECT_TRUE(PictureOf(heap_, 100).cells.empty());
  EXPECT_EQ(DrawOnTerminal({heap_}, {}),
            "node 1: in use 0 B, idle 0 B, released 0 B; committed 0 B of 7.8 MiB\n"
            "  - reserved           7.8 MiB\n");
  EXPECT_THAT(DrawAsSvg({heap_}, "x"), HasSubstr("</svg>"));
  EXPECT_THAT(DrawAsSvg({}, "x"), HasSubstr("</svg>"));
}

TEST_F(HeapPictureTest, AsLetters) {
  AddSome();
  TerminalStyle style;
  style.columns = 40;  // 16 cells a row
  EXPECT_EQ(
      DrawOnTerminal({heap_}, style),
      R"(node 1: in use 384 KiB (small 256 KiB, 75% alive; large 128 KiB), idle 224 KiB, released 160 KiB; committed 768 KiB of 8.6 MiB
       0 B aaaaaaaaaaaaaaaa
   128 KiB cccccccccccccccc
   256 KiB LLLLLLLLLLLLLLLL
   384 KiB ................
   512 KiB ............____
   640 KiB ________________
           one cell: 8.0 KiB; from 100000000000
  a up to 64 B         128 KiB   50% alive
  c up to 1 KiB        128 KiB  100% alive
  L large              128 KiB
  . idle               224 KiB
  _ released           160 KiB
  - reserved           7.8 MiB
)");
}

TEST_F(HeapPictureTest, InColours) {
  AddSmall(16, 16, 4096);
  TerminalStyle style;
  style.colours = TerminalStyle::kTrue;
  EXPECT_THAT(DrawOnTerminal({heap_}, style),
              HasSubstr("\033[38;2;91;42;134m\033[48;2;222;212;231m▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄\033[0m\n"));
  style.colours = TerminalStyle::k256;
  EXPECT_THAT(DrawOnTerminal({heap_}, style), HasSubstr("\033[38;5;"));
  style.colours = TerminalStyle::kNone;
  EXPECT_THAT(DrawOnTerminal({heap_}, style), Not(HasSubstr("\033")));
}

TEST_F(HeapPictureTest, AsSvg) {
  AddSome();
  const std::string svg = DrawAsSvg({heap_}, "numaheap: process 1 (a<b>&\"c\")");
  EXPECT_THAT(svg, HasSubstr("process 1 (a&lt;b&gt;&amp;&quot;c&quot;)"));
  EXPECT_THAT(svg, HasSubstr("committed 768 KiB"));
  EXPECT_THAT(svg, HasSubstr("50% alive"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  for (const Kind kind : {Kind::kTo64, Kind::kTo1K, Kind::kLarge, Kind::kIdle, Kind::kReleased}) {
    char path[64];
    snprintf(path, sizeof path, "<path fill=\"#%06x\" d=\"M",
             kKinds[static_cast<size_t>(kind)].colour);
    EXPECT_THAT(svg, HasSubstr(path));
  }
}

TEST(BytesTextTest, ThreeDigitsOrSo) {
  EXPECT_EQ(BytesText(0), "0 B");
  EXPECT_EQ(BytesText(999), "999 B");
  EXPECT_EQ(BytesText(1000), "1.0 KiB");
  EXPECT_EQ(BytesText(16384), "16.0 KiB");
  EXPECT_EQ(BytesText(123 << 20), "123 MiB");
  EXPECT_EQ(BytesText(uint64_t{1} << 40), "1.0 TiB");
  EXPECT_EQ(BytesText(uint64_t{1} << 60), "1048576 TiB");
}

}  // namespace
}  // namespace numaheap::command
