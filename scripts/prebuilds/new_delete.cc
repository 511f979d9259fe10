// operator new and delete for macOS, which nobody else sees. zig's linker for it takes no list of
// exports, and those of zig's C++ library are weak and exported: they would be taken for other
// libraries', or others' for them. Defined here by their mangled names, since a declaration in C++
// can't be hidden.
#include <cstddef>
#include <cstdlib>

#define HIDDEN(name) __asm("_" name) __attribute__((visibility("hidden")))

namespace {

// Without exceptions nobody could be told; see ARCHITECTURE.md on memory that is refused.
void* must(void* memory) {
  if (memory == nullptr) std::abort();
  return memory;
}

void* aligned(std::size_t size, std::size_t alignment) {
  void* memory = nullptr;
  if (alignment < sizeof(void*)) alignment = sizeof(void*);
  return posix_memalign(&memory, alignment, size) == 0 ? memory : nullptr;
}

}  // namespace

extern "C" {

void* newPlain(std::size_t size) HIDDEN("_Znwm");
void* newArray(std::size_t size) HIDDEN("_Znam");
void* newNothrow(std::size_t size, const void* tag) HIDDEN("_ZnwmRKSt9nothrow_t");
void* newArrayNothrow(std::size_t size, const void* tag) HIDDEN("_ZnamRKSt9nothrow_t");
void* newAligned(std::size_t size, std::size_t alignment) HIDDEN("_ZnwmSt11align_val_t");
void* newArrayAligned(std::size_t size, std::size_t alignment) HIDDEN("_ZnamSt11align_val_t");
void* newAlignedNothrow(std::size_t size, std::size_t alignment, const void* tag)
    HIDDEN("_ZnwmSt11align_val_tRKSt9nothrow_t");
void* newArrayAlignedNothrow(std::size_t size, std::size_t alignment, const void* tag)
    HIDDEN("_ZnamSt11align_val_tRKSt9nothrow_t");
void deletePlain(void* memory) HIDDEN("_ZdlPv");
void deleteArray(void* memory) HIDDEN("_ZdaPv");
void deleteNothrow(void* memory, const void* tag) HIDDEN("_ZdlPvRKSt9nothrow_t");
void deleteArrayNothrow(void* memory, const void* tag) HIDDEN("_ZdaPvRKSt9nothrow_t");
void deleteSized(void* memory, std::size_t size) HIDDEN("_ZdlPvm");
void deleteArraySized(void* memory, std::size_t size) HIDDEN("_ZdaPvm");
void deleteAligned(void* memory, std::size_t alignment) HIDDEN("_ZdlPvSt11align_val_t");
void deleteArrayAligned(void* memory, std::size_t alignment) HIDDEN("_ZdaPvSt11align_val_t");
void deleteSizedAligned(void* memory, std::size_t size, std::size_t alignment)
    HIDDEN("_ZdlPvmSt11align_val_t");
void deleteArraySizedAligned(void* memory, std::size_t size, std::size_t alignment)
    HIDDEN("_ZdaPvmSt11align_val_t");

// malloc(0) may give nothing, new never does.
void* newPlain(std::size_t size) { return must(std::malloc(size == 0 ? 1 : size)); }
void* newArray(std::size_t size) { return newPlain(size); }
void* newNothrow(std::size_t size, const void*) { return std::malloc(size == 0 ? 1 : size); }
void* newArrayNothrow(std::size_t size, const void* tag) { return newNothrow(size, tag); }
void* newAligned(std::size_t size, std::size_t alignment) { return must(aligned(size, alignment)); }
void* newArrayAligned(std::size_t size, std::size_t alignment) {
  return newAligned(size, alignment);
}
void* newAlignedNothrow(std::size_t size, std::size_t alignment, const void*) {
  return aligned(size, alignment);
}
void* newArrayAlignedNothrow(std::size_t size, std::size_t alignment, const void*) {
  return aligned(size, alignment);
}
void deletePlain(void* memory) { std::free(memory); }
void deleteArray(void* memory) { std::free(memory); }
void deleteNothrow(void* memory, const void*) { std::free(memory); }
void deleteArrayNothrow(void* memory, const void*) { std::free(memory); }
void deleteSized(void* memory, std::size_t) { std::free(memory); }
void deleteArraySized(void* memory, std::size_t) { std::free(memory); }
void deleteAligned(void* memory, std::size_t) { std::free(memory); }
void deleteArrayAligned(void* memory, std::size_t) { std::free(memory); }
void deleteSizedAligned(void* memory, std::size_t, std::size_t) { std::free(memory); }
void deleteArraySizedAligned(void* memory, std::size_t, std::size_t) { std::free(memory); }

}  // extern "C"
