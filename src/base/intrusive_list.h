// IntrusiveList: a doubly linked circular list through a field of its elements.
//
// Owns nothing, allocates nothing; synchronised by whoever owns it. An element is on at most one
// list per link; links of elements on no list are null.
#pragma once

#include <cstddef>

#include "src/base/check.h"

namespace numaheap {

template <typename T>
struct ListLink {
  T* next = nullptr;
  T* previous = nullptr;
};

template <typename T, ListLink<T> T::*kLink>
class IntrusiveList {
 public:
  bool empty() const { return first_ == nullptr; }
  size_t size() const { return size_; }
  T* first() const { return first_; }
  T* last() const { return last_; }
  static T* Next(const T* element) { return (element->*kLink).next; }

  void PushFront(T* element) {
    (element->*kLink) = {first_, nullptr};
    (first_ ? (first_->*kLink).previous : last_) = element;
    first_ = element;
    ++size_;
  }

  void PushBack(T* element) {
    (element->*kLink) = {nullptr, last_};
    (last_ ? (last_->*kLink).next : first_) = element;
    last_ = element;
    ++size_;
  }

  void Remove(T* element) {
    ListLink<T>& link = element->*kLink;
    DCHECK(size_ > 0);
    (link.previous ? (link.previous->*kLink).next : first_) = link.next;
    (link.next ? (link.next->*kLink).previous : last_) = link.previous;
    link = {};
    --size_;
  }

  T* PopFront() {
    T* element = first_;
    if (element != nullptr) Remove(element);
    return element;
  }

 private:
  T* first_ = nullptr;
  T* last_ = nullptr;
  size_t size_ = 0;
};

}  // namespace numaheap
