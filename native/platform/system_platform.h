// The real system behind the core's seams.
#pragma once

#include "../core/socket_server.h"

namespace odradek {

// Shared by all servers of the process; has no destructor, since threads may outlive main().
Platform& systemPlatform();

}  // namespace odradek
