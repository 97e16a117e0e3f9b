// LoadedObject: the bounds of this program, of libc and of the loader, as the loader lists them
// too.
#include "src/os/loaded_object.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>
#include <sys/auxv.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace numaheap {
namespace {

void FunctionOfThisProgram() {}
int variable_of_this_program = 1;

const void* AddressOf(void (*function)()) {
  return reinterpret_cast<const void*>(function);
}

// What dl_iterate_phdr(3) says of one object: where its loaded segments lie.
struct Listed {
  std::string name;
  uintptr_t start = UINTPTR_MAX;
  uintptr_t end = 0;
};

std::vector<Listed> ListObjects() {
  std::vector<Listed> all;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* out) {
        Listed object{.name = info->dlpi_name};
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& segment = info->dlpi_phdr[i];
          if (segment.p_type != PT_LOAD) continue;
          const uintptr_t start = info->dlpi_addr + segment.p_vaddr;
          object.start = std::min(object.start, start & ~uintptr_t{4095});
          object.end = std::max(object.end, start + segment.p_memsz);
        }
        static_cast<std::vector<Listed>*>(out)->push_back(object);
        return 0;
      },
      &all);
  return all;
}

TEST(LoadedObjectTest, NothingContainsNothing) {
  constexpr LoadedObject kNothing;
  EXPECT_FALSE(kNothing.Contains(nullptr));
  EXPECT_FALSE(kNothing.Contains(&variable_of_this_program));
  EXPECT_FALSE(kNothing.Contains(reinterpret_cast<void*>(UINTPTR_MAX)));
}

TEST(LoadedObjectTest, ContainsItsBounds) {
  constexpr LoadedObject kObject{.start = 0x1000, .end = 0x3000};
  const auto contains = [&](uintptr_t address) {
    return kObject.Contains(reinterpret_cast<void*>(address));
  };
  EXPECT_FALSE(contains(0));
  EXPECT_FALSE(contains(0xfff));
  EXPECT_TRUE(contains(0x1000));
  EXPECT_TRUE(contains(0x2fff));
  EXPECT_FALSE(contains(0x3000));
  EXPECT_FALSE(contains(UINTPTR_MAX));
}

TEST(LoadedObjectTest, OfAFunctionOfThisProgram) {
  const LoadedObject program = LoadedObject::At(AddressOf(&FunctionOfThisProgram));
  EXPECT_TRUE(program.Contains(AddressOf(&FunctionOfThisProgram)));
  EXPECT_TRUE(program.Contains(&variable_of_this_program));
  EXPECT_TRUE(program.Contains("text"));
  const int on_stack = 0;
  const auto on_heap = std::make_unique<int>();
  EXPECT_FALSE(program.Contains(&on_stack));
  EXPECT_FALSE(program.Contains(on_heap.get()));
  EXPECT_FALSE(program.Contains(nullptr));
}

TEST(LoadedObjectTest, OfLibc) {
  const void* function = dlsym(RTLD_DEFAULT, "gnu_get_libc_version");
  ASSERT_NE(function, nullptr);
  const LoadedObject libc = LoadedObject::At(function);
  EXPECT_TRUE(libc.Contains(function));
  EXPECT_TRUE(libc.Contains(dlsym(RTLD_DEFAULT, "environ")));
  EXPECT_FALSE(libc.Contains(AddressOf(&FunctionOfThisProgram)));
  EXPECT_EQ(LoadedObject::At(dlsym(RTLD_DEFAULT, "gnu_get_libc_release")).start, libc.start);
}

TEST(LoadedObjectTest, TheLoader) {
  const LoadedObject loader = LoadedObject::Loader();
  EXPECT_TRUE(loader.Contains(reinterpret_cast<const void*>(getauxval(AT_BASE))));
  const void* inside = dlsym(RTLD_DEFAULT, "_r_debug");
  ASSERT_NE(inside, nullptr);
  EXPECT_TRUE(loader.Contains(inside));
  EXPECT_FALSE(loader.Contains(AddressOf(&FunctionOfThisProgram)));
  const LoadedObject same = LoadedObject::At(inside);
  EXPECT_EQ(same.start, loader.start);
  EXPECT_EQ(same.end, loader.end);
}

TEST(LoadedObjectTest, NothingWhereNoObjectIs) {
  const auto on_heap = std::make_unique<int>();
  for (const void* address :
       {static_cast<const void*>(on_heap.get()), static_cast<const void*>(nullptr),
        reinterpret_cast<const void*>(UINTPTR_MAX)}) {
    const LoadedObject object = LoadedObject::At(address);
    EXPECT_EQ(object.start, object.end);
    EXPECT_FALSE(object.Contains(address));
  }
}

TEST(LoadedObjectTest, AgreesWithTheLoadersList) {
  int compared = 0;
  for (const Listed& listed : ListObjects()) {
    const LoadedObject object = LoadedObject::At(reinterpret_cast<void*>(listed.start));
    if (object.start == object.end) continue;  // the kernel's vdso has no file
    EXPECT_EQ(object.start, listed.start) << listed.name;
    EXPECT_EQ(object.end, listed.end) << listed.name;
    ++compared;
  }
  EXPECT_GE(compared, 3) << "this program, libc, the loader";
}

}  // namespace
}  // namespace numaheap
