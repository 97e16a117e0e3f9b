// The replaceable allocation functions of C++20 keep what [new.delete] promises: every form, what
// fails, the new-handler. What a C++ plugin of a C program sees is in plugin_host.c.
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/resource.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "tests/api/snapshot.h"

namespace numaheap {
namespace {

using std::align_val_t;
using std::nothrow_t;

void* (*volatile const New)(size_t) = operator new;
void* (*volatile const NewArray)(size_t) = operator new[];
void* (*volatile const NewAligned)(size_t, align_val_t) = operator new;
void* (*volatile const NewArrayAligned)(size_t, align_val_t) = operator new[];
void* (*volatile const NewNothrow)(size_t, const nothrow_t&) = operator new;
void* (*volatile const NewArrayNothrow)(size_t, const nothrow_t&) = operator new[];
void* (*volatile const NewAlignedNothrow)(size_t, align_val_t, const nothrow_t&) = operator new;
void* (*volatile const NewArrayAlignedNothrow)(size_t, align_val_t, const nothrow_t&) =
operator new[];

void (*volatile const Delete)(void*) = operator delete;
void (*volatile const DeleteArray)(void*) = operator delete[];
void (*volatile const DeleteSized)(void*, size_t) = operator delete;
void (*volatile const DeleteArraySized)(void*, size_t) = operator delete[];
void (*volatile const DeleteAligned)(void*, align_val_t) = operator delete;
void (*volatile const DeleteArrayAligned)(void*, align_val_t) = operator delete[];
void (*volatile const DeleteSizedAligned)(void*, size_t, align_val_t) = operator delete;
void (*volatile const DeleteArraySizedAligned)(void*, size_t, align_val_t) = operator delete[];
void (*volatile const DeleteNothrow)(void*, const nothrow_t&) = operator delete;
void (*volatile const DeleteArrayNothrow)(void*, const nothrow_t&) = operator delete[];
void (*volatile const DeleteAlignedNothrow)(void*, align_val_t, const nothrow_t&) = operator delete;
void (*volatile const DeleteArrayAlignedNothrow)(void*, align_val_t, const nothrow_t&) =
operator delete[];

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kTooLarge[] = {PTRDIFF_MAX, size_t{PTRDIFF_MAX} + 1, SIZE_MAX};

// Each form of new, with an alignment where it takes one.
struct NewForm {
  const char* name;
  bool aligned, nothrow;
  void* (*call)(size_t size, size_t alignment);
};
constexpr NewForm kNewForms[] = {
    {"new", false, false, [](size_t n, size_t) { return New(n); }},
    {"new[]", false, false, [](size_t n, size_t) { return NewArray(n); }},
    {"new align", true, false, [](size_t n, size_t a) { return NewAligned(n, align_val_t{a}); }},
    {"new[] align", true, false,
     [](size_t n, size_t a) { return NewArrayAligned(n, align_val_t{a}); }},
    {"new nothrow", false, true, [](size_t n, size_t) { return NewNothrow(n, std::nothrow); }},
    {"new[] nothrow", false, true,
     [](size_t n, size_t) { return NewArrayNothrow(n, std::nothrow); }},
    {"new align nothrow", true, true,
     [](size_t n, size_t a) { return NewAlignedNothrow(n, align_val_t{a}, std::nothrow); }},
    {"new[] align nothrow", true, true,
     [](size_t n, size_t a) { return NewArrayAlignedNothrow(n, align_val_t{a}, std::nothrow); }},
};

// Each form of delete.
struct DeleteForm {
  const char* name;
  void (*call)(void* block, size_t size, size_t alignment);
};
constexpr DeleteForm kDeleteForms[] = {
    {"delete", [](void* p, size_t, size_t) { Delete(p); }},
    {"delete[]", [](void* p, size_t, size_t) { DeleteArray(p); }},
    {"delete size", [](void* p, size_t n, size_t) { DeleteSized(p, n); }},
    {"delete[] size", [](void* p, size_t n, size_t) { DeleteArraySized(p, n); }},
    {"delete align", [](void* p, size_t, size_t a) { DeleteAligned(p, align_val_t{a}); }},
    {"delete[] align", [](void* p, size_t, size_t a) { DeleteArrayAligned(p, align_val_t{a}); }},
    {"delete size align",
     [](void* p, size_t n, size_t a) { DeleteSizedAligned(p, n, align_val_t{a}); }},
    {"delete[] size align",
     [](void* p, size_t n, size_t a) { DeleteArraySizedAligned(p, n, align_val_t{a}); }},
    {"delete nothrow", [](void* p, size_t, size_t) { DeleteNothrow(p, std::nothrow); }},
    {"delete[] nothrow", [](void* p, size_t, size_t) { DeleteArrayNothrow(p, std::nothrow); }},
    {"delete align nothrow",
     [](void* p, size_t, size_t a) { DeleteAlignedNothrow(p, align_val_t{a}, std::nothrow); }},
    {"delete[] align nothrow",
     [](void* p, size_t, size_t a) { DeleteArrayAlignedNothrow(p, align_val_t{a}, std::nothrow); }},
};

// The new-handler that a test installs, and what it has done.
int handler_calls = 0;

class NewTest : public testing::Test {
 protected:
  NewTest() { handler_calls = 0; }
  ~NewTest() override {
    std::set_new_handler(nullptr);
    setrlimit(RLIMIT_DATA, &unlimited_);
  }

  // From here on the kernel gives no more memory, until Give().
  static void Withhold() {
    getrlimit(RLIMIT_DATA, &unlimited_);
    const rlimit none = {1, unlimited_.rlim_max};  // the kernel takes 0 for unlimited
    setrlimit(RLIMIT_DATA, &none);
  }
  static void Give() { setrlimit(RLIMIT_DATA, &unlimited_); }

  static inline rlimit unlimited_ = {RLIM_INFINITY, RLIM_INFINITY};
};

TEST_F(NewTest, EveryFormGoesWithEveryDelete) {
  for (const NewForm& form : kNewForms) {
    for (const DeleteForm& release : kDeleteForms) {
      for (size_t size : {size_t{0}, size_t{1}, size_t{100}, size_t{5000}, kMiB}) {
        const size_t alignment = form.aligned ? 64 : __STDCPP_DEFAULT_NEW_ALIGNMENT__;
        const Snapshot before;
        void* block = form.call(size, alignment);
        ASSERT_NE(block, nullptr) << form.name;
        const Snapshot between;
        EXPECT_EQ(between.Sum(&numaheap_node_snapshot_t::allocations) -
                      before.Sum(&numaheap_node_snapshot_t::allocations),
                  1u)
            << form.name;
        EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % alignment, 0u) << form.name;
        EXPECT_GE(malloc_usable_size(block), size);
        release.call(block, size, alignment);
        EXPECT_EQ(Snapshot().Frees() - between.Frees(), 1u) << release.name;
      }
    }
  }
}

TEST_F(NewTest, DeleteOfNullDoesNothing) {
  const uint64_t frees = Snapshot().Frees();
  for (const DeleteForm& release : kDeleteForms) release.call(nullptr, 8, 64);
  EXPECT_EQ(Snapshot().Frees(), frees);
}

TEST_F(NewTest, SizeZeroGivesBlocksOfTheirOwn) {
  for (const NewForm& form : kNewForms) {
    void* a = form.call(0, 64);
    void* b = form.call(0, 64);
    EXPECT_NE(a, b) << form.name;
    Delete(a);
    Delete(b);
  }
}

TEST_F(NewTest, EveryAlignment) {
  for (const NewForm& form : kNewForms) {
    if (!form.aligned) continue;
    for (size_t alignment = 1; alignment <= 64 * kMiB; alignment *= 2) {
      for (size_t size : {size_t{1}, alignment + 1}) {
        void* block = form.call(size, alignment);
        ASSERT_NE(block, nullptr) << form.name << ", " << alignment;
        EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % alignment, 0u) << form.name;
        DeleteAligned(block, align_val_t{alignment});
      }
    }
  }
}

TEST_F(NewTest, TooLargeThrowsOrIsNull) {
  for (const NewForm& form : kNewForms) {
    for (size_t size : kTooLarge) {
      if (form.nothrow) {
        EXPECT_EQ(form.call(size, 64), nullptr) << form.name;
      } else {
        EXPECT_THROW(form.call(size, 64), std::bad_alloc) << form.name;
      }
    }
  }
}

TEST_F(NewTest, HandlerIsCalledUntilItGivesMemory) {
  for (const NewForm& form : kNewForms) {
    Withhold();
    handler_calls = 0;
    std::set_new_handler([] {
      if (++handler_calls == 3) Give();
    });
    // More than free pages of the tests before could hold.
    const size_t size = Snapshot().Sum(&numaheap_node_snapshot_t::committed_bytes) + kMiB;
    void* block = form.call(size, 4096);
    EXPECT_NE(block, nullptr) << form.name;
    EXPECT_EQ(handler_calls, 3) << form.name;
    Delete(block);
  }
}

TEST_F(NewTest, HandlerMayResetItself) {
  for (const NewForm& form : kNewForms) {
    handler_calls = 0;
    std::set_new_handler([] {
      if (++handler_calls == 2) std::set_new_handler(nullptr);
    });
    if (form.nothrow) {
      EXPECT_EQ(form.call(PTRDIFF_MAX, 64), nullptr) << form.name;
    } else {
      EXPECT_THROW(form.call(PTRDIFF_MAX, 64), std::bad_alloc) << form.name;
    }
    EXPECT_EQ(handler_calls, 2) << form.name;
  }
}

struct OwnBadAlloc : std::bad_alloc {};

TEST_F(NewTest, HandlerMayThrow) {
  for (const NewForm& form : kNewForms) {
    handler_calls = 0;
    std::set_new_handler([] {
      ++handler_calls;
      throw OwnBadAlloc();
    });
    if (form.nothrow) {
      EXPECT_EQ(form.call(PTRDIFF_MAX, 64), nullptr) << form.name;
    } else {
      EXPECT_THROW(form.call(PTRDIFF_MAX, 64), OwnBadAlloc) << form.name;
    }
    EXPECT_EQ(handler_calls, 1) << form.name;
  }
}

TEST_F(NewTest, HandlerIsNotCalledWithoutNeed) {
  std::set_new_handler([] { ++handler_calls; });
  for (const NewForm& form : kNewForms) Delete(form.call(100, 64));
  EXPECT_EQ(handler_calls, 0);
}

// What the compiler makes of new-expressions.
struct alignas(128) OverAligned {
  OverAligned() { ++alive; }
  ~OverAligned() { --alive; }
  char bytes[200];
  static inline int alive = 0;
};

TEST_F(NewTest, OverAlignedTypes) {
  std::vector<std::unique_ptr<OverAligned>> single;
  for (int i = 0; i < 100; ++i) {
    single.push_back(std::make_unique<OverAligned>());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(single.back().get()) % 128, 0u);
  }
  auto array = std::make_unique<OverAligned[]>(7);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(array.get()) % 128, 0u);
  std::vector<OverAligned> vector(9);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(vector.data()) % 128, 0u);
  EXPECT_EQ(OverAligned::alive, 116);
}

struct ThrowingConstructor {
  ThrowingConstructor() { throw 1; }
  char bytes[100];
};

TEST_F(NewTest, AConstructorThatThrowsLeavesNothingBehind) {
  const Snapshot before;
  for (int i = 0; i < 100; ++i) {
    try {
      delete new ThrowingConstructor();
      ADD_FAILURE() << "did not throw";
    } catch (int) {
    }
  }
  const Snapshot after;
  // The exceptions are objects of the heap too.
  EXPECT_GE(after.Frees() - before.Frees(), 100u);
  EXPECT_EQ(after.Frees() - before.Frees(), after.Sum(&numaheap_node_snapshot_t::allocations) -
                                                before.Sum(&numaheap_node_snapshot_t::allocations));
}

}  // namespace
}  // namespace numaheap
