// The Memory of the process: malloc() for small pieces; large ones are mappings of their own,
// which malloc() would keep for ever between pieces that are still in use.
#pragma once

#include "../core/memory.h"

namespace odradek {

// Has no destructor, so that threads may use it while the process exits.
Memory& systemMemory();

}  // namespace odradek
