// Which poller this system has, or the build asks for: the one place that knows. The build compiles
// that file alone.
#pragma once

#if defined(__linux__) && !defined(ODRADEK_KQUEUE)
#include "epoll_poller.h"
#else
#include "kqueue_poller.h"
#endif

namespace odradek {

#if defined(__linux__) && !defined(ODRADEK_KQUEUE)
using DefaultPoller = EpollPoller;
#else
using DefaultPoller = KqueuePoller;
#endif

}  // namespace odradek
