// IntrusiveList: each end, the middle, two lists through one element, and at random against a
// deque.
#include "src/base/intrusive_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

namespace numaheap {
namespace {

using testing::ElementsAre;

struct Element {
  int name = 0;
  ListLink<Element> link;
  ListLink<Element> other_link;
};
using List = IntrusiveList<Element, &Element::link>;
using OtherList = IntrusiveList<Element, &Element::other_link>;

template <typename AnyList>
std::vector<int> Names(const AnyList& list) {
  std::vector<int> names;
  for (const Element* e = list.first(); e != nullptr; e = AnyList::Next(e)) {
    names.push_back(e->name);
  }
  return names;
}

// The links of both directions tell the same story.
void ExpectSound(const List& list) {
  size_t count = 0;
  const Element* previous = nullptr;
  for (const Element* e = list.first(); e != nullptr; e = List::Next(e)) {
    ASSERT_EQ(e->link.previous, previous);
    previous = e;
    ++count;
  }
  ASSERT_EQ(list.last(), previous);
  ASSERT_EQ(list.size(), count);
  ASSERT_EQ(list.empty(), count == 0);
}

class IntrusiveListTest : public testing::Test {
 protected:
  IntrusiveListTest() {
    for (int i = 0; i < 4; ++i) elements_[i].name = i;
  }
  void TearDown() override { ExpectSound(list_); }

  Element elements_[4];
  List list_;
};

TEST_F(IntrusiveListTest, StartsEmpty) {
  EXPECT_TRUE(list_.empty());
  EXPECT_EQ(list_.size(), 0u);
  EXPECT_EQ(list_.first(), nullptr);
  EXPECT_EQ(list_.last(), nullptr);
  EXPECT_EQ(list_.PopFront(), nullptr);
}

TEST_F(IntrusiveListTest, PushesAtBothEnds) {
  list_.PushBack(&elements_[1]);
  list_.PushFront(&elements_[0]);
  list_.PushBack(&elements_[2]);
  EXPECT_THAT(Names(list_), ElementsAre(0, 1, 2));
  EXPECT_EQ(list_.first(), &elements_[0]);
  EXPECT_EQ(list_.last(), &elements_[2]);
}

TEST_F(IntrusiveListTest, RemovesAnywhere) {
  for (Element& e : elements_) list_.PushBack(&e);
  list_.Remove(&elements_[1]);
  EXPECT_THAT(Names(list_), ElementsAre(0, 2, 3));
  list_.Remove(&elements_[3]);
  EXPECT_THAT(Names(list_), ElementsAre(0, 2));
  list_.Remove(&elements_[0]);
  EXPECT_THAT(Names(list_), ElementsAre(2));
  list_.Remove(&elements_[2]);
  EXPECT_TRUE(list_.empty());
}

TEST_F(IntrusiveListTest, LinksOfWhatWasRemovedAreNull) {
  for (Element& e : elements_) list_.PushFront(&e);
  list_.Remove(&elements_[2]);
  EXPECT_EQ(list_.PopFront(), &elements_[3]);
  for (int i : {2, 3}) {
    EXPECT_EQ(elements_[i].link.next, nullptr);
    EXPECT_EQ(elements_[i].link.previous, nullptr);
  }
  list_.PushBack(&elements_[3]);
  EXPECT_THAT(Names(list_), ElementsAre(1, 0, 3));
}

TEST_F(IntrusiveListTest, AnElementIsOnOneListPerLink) {
  OtherList other;
  for (Element& e : elements_) list_.PushBack(&e);
  for (Element& e : elements_) other.PushFront(&e);
  list_.Remove(&elements_[0]);
  EXPECT_THAT(Names(list_), ElementsAre(1, 2, 3));
  EXPECT_THAT(Names(other), ElementsAre(3, 2, 1, 0));
}

TEST_F(IntrusiveListTest, RemovingFromAnEmptyListDies) {
  if (!kDebugChecks) GTEST_SKIP() << "this build has no debug checks";
  EXPECT_DEATH(list_.Remove(&elements_[0]), "size_ > 0");
}

TEST(IntrusiveListModel, RandomAgainstDeque) {
  std::mt19937 random(20240119);
  std::vector<Element> elements(50);
  std::vector<Element*> spare;
  for (Element& e : elements) spare.push_back(&e);
  List list;
  std::deque<Element*> model;
  for (int step = 0; step < 20'000; ++step) {
    switch (random() % 4) {
      case 0:
      case 1: {
        if (spare.empty()) break;
        std::swap(spare[random() % spare.size()], spare.back());
        Element* e = spare.back();
        spare.pop_back();
        if (random() % 2) {
          list.PushFront(e);
          model.push_front(e);
        } else {
          list.PushBack(e);
          model.push_back(e);
        }
        break;
      }
      case 2: {
        if (model.empty()) break;
        const auto place = model.begin() + static_cast<std::ptrdiff_t>(random() % model.size());
        list.Remove(*place);
        spare.push_back(*place);
        model.erase(place);
        break;
      }
      case 3: {
        Element* const popped = list.PopFront();
        ASSERT_EQ(popped, model.empty() ? nullptr : model.front());
        if (popped == nullptr) break;
        spare.push_back(popped);
        model.pop_front();
        break;
      }
    }
    ASSERT_NO_FATAL_FAILURE(ExpectSound(list));
    const Element* e = list.first();
    for (const Element* expected : model) {
      ASSERT_EQ(e, expected);
      e = List::Next(e);
    }
    ASSERT_EQ(e, nullptr);
  }
}

}  // namespace
}  // namespace numaheap
