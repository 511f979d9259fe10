// How many permits of a request channel nobody holds: at the end, all of them.
#pragma once

#include <cstdint>
#include <vector>

#include "../core/request_channel.h"

namespace odradek::test {

inline uint32_t freePermits(RequestChannel& requests) {
  struct Asker final : PermitWaiter {
    void permitsGranted() override {}
  } asker;
  uint32_t free = 0;
  while (const uint32_t permits = requests.acquire(asker)) free += permits;
  requests.forget(asker);
  std::vector<Request> none;
  requests.push(none, free);
  return free;
}

}  // namespace odradek::test
