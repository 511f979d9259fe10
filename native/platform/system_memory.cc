#include "system_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "../core/bounds.h"
#include "spare_mappings.h"
#include "system_platform.h"

namespace odradek {
namespace {

// AddressSanitizer watches malloc() alone.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kMaps = false;
#elif defined(__has_feature)
constexpr bool kMaps = !__has_feature(address_sanitizer);
#else
constexpr bool kMaps = true;
#endif

class SystemMemory final : public Memory {
 public:
  SystemMemory()
      : page_bytes_(static_cast<size_t>(::sysconf(_SC_PAGESIZE))),
        spares_(kSpareMappedBytes / page_bytes_) {}

  void* allocate(size_t bytes) override {
    if (!kMaps || bytes < kMappedBytes) return std::malloc(bytes);
    const size_t pages = (sizeof(Prefix) + bytes + page_bytes_ - 1) / page_bytes_;
    void* memory = spares_.take(pages, now());
    if (memory == nullptr) memory = map(pages);
    if (memory != nullptr) return new (memory) Prefix{pages} + 1;
    // The system allows so many mappings and no more.
    memory = std::malloc(sizeof(Prefix) + bytes);
    return memory == nullptr ? nullptr : new (memory) Prefix{0} + 1;
  }

  void release(void* memory, size_t bytes) override {
    if (!kMaps || bytes < kMappedBytes) return std::free(memory);
    Prefix* start = static_cast<Prefix*>(memory) - 1;
    const Mapping mapping = {start, start->pages};
    if (mapping.pages == 0) return std::free(start);
    if (!spares_.give(mapping, now())) unmap(mapping);
  }

  int64_t tidyDueNs() const override { return spares_.dueNs(); }

  void tidy(int64_t now_ns) override {
    std::array<Mapping, kUnmapsAtOnce> unneeded;
    const size_t count = spares_.takeUnneeded(now_ns, unneeded.data(), unneeded.size());
    for (size_t i = 0; i < count; i++) unmap(unneeded[i]);
  }

  void letGo() override {
    std::array<Mapping, kUnmapsAtOnce> kept;
    while (const size_t count = spares_.takeAny(kept.data(), kept.size())) {
      for (size_t i = 0; i < count; i++) unmap(kept[i]);
    }
  }

 private:
  // In front of what is large. As aligned as what malloc() gives.
  struct alignas(16) Prefix {
    // 0: it is from malloc().
    size_t pages;
  };

  static int64_t now() { return systemPlatform().clock().now(); }

  void* map(size_t pages) const {
    void* memory = ::mmap(nullptr, pages * page_bytes_, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? nullptr : memory;
  }

  void unmap(const Mapping& mapping) const {
    const size_t bytes = mapping.pages * page_bytes_;
    // In the middle of others it makes two of one, for which the system may have no room.
    if (::munmap(mapping.memory, bytes) != 0) ::madvise(mapping.memory, bytes, MADV_DONTNEED);
  }

  const size_t page_bytes_;
  SpareMappings spares_;
};

}  // namespace

Memory& systemMemory() {
  alignas(SystemMemory) static unsigned char storage[sizeof(SystemMemory)];
  static auto* memory = new (storage) SystemMemory();
  return *memory;
}

}  // namespace odradek
