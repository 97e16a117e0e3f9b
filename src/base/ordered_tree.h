// OrderedTree: a balanced search tree through a field of its elements (a treap: Seidel and Aragon,
// "Randomized search trees", 1996). Insert, remove and search are O(log n) expected.
//
// Owns nothing, allocates nothing; synchronised by whoever owns it. `Less` orders elements totally;
// an element's order must not change while it is in the tree. Priorities come from a generator of
// the tree's own, so shapes do not depend on the keys.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/base/check.h"

namespace numaheap {

template <typename T>
struct TreeLink {
  T* left = nullptr;
  T* right = nullptr;
  uint32_t priority = 0;
};

template <typename T, TreeLink<T> T::*kLink, typename Less>
class OrderedTree {
 public:
  bool empty() const { return root_ == nullptr; }
  size_t size() const { return size_; }

  T* First() const {
    T* node = root_;
    while (node != nullptr && Left(node) != nullptr) node = Left(node);
    return node;
  }

  // The first element for which `at_least` holds; it must be monotone over the order (false for a
  // prefix, true for the rest). Null when there is none.
  template <typename Predicate>
  T* FirstWhere(Predicate at_least) const {
    T* found = nullptr;
    for (T* node = root_; node != nullptr;) {
      if (at_least(*node)) {
        found = node;
        node = Left(node);
      } else {
        node = Right(node);
      }
    }
    return found;
  }

  void Insert(T* element) {
    (element->*kLink) = {nullptr, nullptr, NextPriority()};
    T** place = &root_;
    while (*place != nullptr && Priority(*place) >= Priority(element)) {
      place = Less()(*element, **place) ? &Left(*place) : &Right(*place);
    }
    Split(*place, element, &Left(element), &Right(element));
    *place = element;
    ++size_;
  }

  void Remove(T* element) {
    T** place = &root_;
    while (*place != element) {
      DCHECK(*place != nullptr);
      place = Less()(*element, **place) ? &Left(*place) : &Right(*place);
    }
    *place = Join(Left(element), Right(element));
    (element->*kLink) = {};
    --size_;
  }

  // Order, heap property and size. Linear; recursion is as deep as the tree.
  bool IsValid() const {
    size_t count = 0;
    const T* previous = nullptr;
    return IsValid(root_, &previous, &count) && count == size_;
  }

  template <typename Visit>
  void ForEach(Visit visit) const {
    ForEach(root_, visit);
  }

 private:
  static T*& Left(T* node) { return (node->*kLink).left; }
  static T*& Right(T* node) { return (node->*kLink).right; }
  static uint32_t Priority(const T* node) { return (node->*kLink).priority; }

  uint32_t NextPriority() {  // xorshift32
    random_ ^= random_ << 13;
    random_ ^= random_ >> 17;
    random_ ^= random_ << 5;
    return random_;
  }

  // Splits `tree` into what comes before `element` and what comes after it.
  static void Split(T* tree, const T* element, T** before, T** after) {
    while (tree != nullptr) {
      if (Less()(*element, *tree)) {
        *after = tree;
        after = &Left(tree);
        tree = *after;
      } else {
        *before = tree;
        before = &Right(tree);
        tree = *before;
      }
    }
    *before = nullptr;
    *after = nullptr;
  }

  static T* Join(T* before, T* after) {
    T* root = nullptr;
    T** place = &root;
    while (before != nullptr && after != nullptr) {
      if (Priority(before) >= Priority(after)) {
        *place = before;
        place = &Right(before);
        before = *place;
      } else {
        *place = after;
        place = &Left(after);
        after = *place;
      }
    }
    *place = before != nullptr ? before : after;
    return root;
  }

  static bool IsValid(T* node, const T** previous, size_t* count) {
    if (node == nullptr) return true;
    if (Left(node) != nullptr && Priority(Left(node)) > Priority(node)) return false;
    if (Right(node) != nullptr && Priority(Right(node)) > Priority(node)) return false;
    if (!IsValid(Left(node), previous, count)) return false;
    if (*previous != nullptr && !Less()(**previous, *node)) return false;
    *previous = node;
    ++*count;
    return IsValid(Right(node), previous, count);
  }

  template <typename Visit>
  static void ForEach(T* node, Visit& visit) {
    if (node == nullptr) return;
    ForEach(Left(node), visit);
    visit(*node);
    ForEach(Right(node), visit);
  }

  T* root_ = nullptr;
  size_t size_ = 0;
  uint32_t random_ = 2463534242;
};

}  // namespace numaheap
