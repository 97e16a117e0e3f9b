// OrderedTree: order, search and removal, at random against std::set; and that it stays shallow
// when the keys come in order, which is how a heap frees its spans.
#include "src/base/ordered_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <utility>
#include <vector>

namespace numaheap {
namespace {

struct Element {
  int size = 0;
  int place = 0;
  TreeLink<Element> link = {};
};

struct BySizeAndPlace {
  bool operator()(const Element& a, const Element& b) const {
    return std::pair(a.size, a.place) < std::pair(b.size, b.place);
  }
};
using Tree = OrderedTree<Element, &Element::link, BySizeAndPlace>;
using Model = std::set<std::pair<int, int>>;

Element* FirstOfSize(const Tree& tree, int size) {
  return tree.FirstWhere([size](const Element& e) { return e.size >= size; });
}

int Depth(const Element* root) {
  if (root == nullptr) return 0;
  return 1 + std::max(Depth(root->link.left), Depth(root->link.right));
}

// The root is whoever is nobody's child.
int Depth(const std::vector<Element>& elements) {
  std::set<const Element*> roots;
  for (const Element& e : elements) roots.insert(&e);
  for (const Element& e : elements) {
    roots.erase(e.link.left);
    roots.erase(e.link.right);
  }
  EXPECT_EQ(roots.size(), 1u);
  return Depth(*roots.begin());
}

TEST(OrderedTreeTest, StartsEmpty) {
  Tree tree;
  EXPECT_TRUE(tree.empty());
  EXPECT_EQ(tree.size(), 0u);
  EXPECT_EQ(tree.First(), nullptr);
  EXPECT_EQ(FirstOfSize(tree, 0), nullptr);
  EXPECT_TRUE(tree.IsValid());
}

TEST(OrderedTreeTest, FindsTheFirstThatIsLargeEnough) {
  Element small{.size = 2, .place = 9};
  Element low{.size = 5, .place = 1};
  Element high{.size = 5, .place = 7};
  Tree tree;
  for (Element* e : {&high, &small, &low}) tree.Insert(e);
  EXPECT_EQ(tree.First(), &small);
  EXPECT_EQ(FirstOfSize(tree, 2), &small);
  EXPECT_EQ(FirstOfSize(tree, 3), &low);
  EXPECT_EQ(FirstOfSize(tree, 5), &low);
  EXPECT_EQ(FirstOfSize(tree, 6), nullptr);
  tree.Remove(&low);
  EXPECT_EQ(FirstOfSize(tree, 3), &high);
}

TEST(OrderedTreeTest, LinksOfWhatWasRemovedAreNull) {
  std::vector<Element> elements(10);
  Tree tree;
  for (int i = 0; i < 10; ++i) {
    elements[i].size = i;
    tree.Insert(&elements[i]);
  }
  for (int i : {5, 0, 9, 4}) {
    tree.Remove(&elements[i]);
    EXPECT_EQ(elements[i].link.left, nullptr);
    EXPECT_EQ(elements[i].link.right, nullptr);
    EXPECT_TRUE(tree.IsValid());
  }
  EXPECT_EQ(tree.size(), 6u);
}

TEST(OrderedTreeTest, IsValidSeesAWrongOrder) {
  std::vector<Element> elements(20);
  Tree tree;
  for (int i = 0; i < 20; ++i) {
    elements[i].size = 10 * i;
    tree.Insert(&elements[i]);
  }
  ASSERT_TRUE(tree.IsValid());
  elements[7].size = 95;
  EXPECT_FALSE(tree.IsValid());
  elements[7].size = 70;
  EXPECT_TRUE(tree.IsValid());
  elements[7].size = 80;  // equal to its neighbour: the order is total
  EXPECT_FALSE(tree.IsValid());
}

TEST(OrderedTreeTest, IsValidSeesAWrongPriority) {
  std::vector<Element> elements(20);
  Tree tree;
  for (int i = 0; i < 20; ++i) {
    elements[i].size = i;
    tree.Insert(&elements[i]);
  }
  const auto leaf = std::find_if(elements.begin(), elements.end(), [](const Element& e) {
    return e.link.left == nullptr && e.link.right == nullptr;
  });
  leaf->link.priority = UINT32_MAX;
  EXPECT_FALSE(tree.IsValid());
}

// A random treap of n elements is about 2 ln n deep on average and hardly ever twice that; the
// tree's priorities are always the same ones, so this can't fail by chance.
TEST(OrderedTreeTest, StaysShallowWhateverTheOrder) {
  constexpr int kCount = 1 << 14;
  const int limit = static_cast<int>(4.3 * std::log(kCount));
  for (const bool ascending : {true, false}) {
    std::vector<Element> elements(kCount);
    Tree tree;
    for (int i = 0; i < kCount; ++i) {
      elements[i].size = ascending ? i : kCount - i;
      tree.Insert(&elements[i]);
    }
    EXPECT_TRUE(tree.IsValid());
    EXPECT_LE(Depth(elements), limit);
  }
}

TEST(OrderedTreeModel, RandomAgainstSet) {
  std::mt19937 random(20240120);
  std::vector<Element> elements(400);
  std::vector<Element*> inside, outside;
  for (int i = 0; i < 400; ++i) {
    elements[i].place = i;
    outside.push_back(&elements[i]);
  }
  const auto take_any = [&random](std::vector<Element*>& from) {
    std::swap(from[random() % from.size()], from.back());
    Element* e = from.back();
    from.pop_back();
    return e;
  };
  Tree tree;
  Model model;
  for (int step = 0; step < 50'000; ++step) {
    // Grows and shrinks in turn, so that it is small, large and empty now and then.
    const bool growing = step / 1000 % 2 == 0;
    if ((random() % 4 != 0) == growing) {
      if (outside.empty()) continue;
      Element* e = take_any(outside);
      e->size = static_cast<int>(random() % 30);
      tree.Insert(e);
      model.insert({e->size, e->place});
      inside.push_back(e);
    } else {
      if (inside.empty()) continue;
      Element* e = take_any(inside);
      tree.Remove(e);
      model.erase({e->size, e->place});
      outside.push_back(e);
    }
    ASSERT_EQ(tree.size(), model.size());
    ASSERT_EQ(tree.empty(), model.empty());
    const auto expect_same = [&](const Element* got, Model::iterator expected) {
      ASSERT_EQ(got == nullptr, expected == model.end());
      if (got == nullptr) return;
      ASSERT_EQ(std::pair(got->size, got->place), *expected);
    };
    ASSERT_NO_FATAL_FAILURE(expect_same(tree.First(), model.begin()));
    const int size = static_cast<int>(random() % 32);
    ASSERT_NO_FATAL_FAILURE(expect_same(FirstOfSize(tree, size), model.lower_bound({size, -1})));
    if (step % 100 == 0) {
      ASSERT_TRUE(tree.IsValid());
      std::vector<std::pair<int, int>> all;
      tree.ForEach([&all](const Element& e) { all.emplace_back(e.size, e.place); });
      ASSERT_TRUE(std::equal(all.begin(), all.end(), model.begin(), model.end()));
    }
  }
}

}  // namespace
}  // namespace numaheap
