// Which poller this system has: the one place that knows. The build compiles that file alone.
#pragma once

#include "epoll_poller.h"

namespace odradek {

using DefaultPoller = EpollPoller;

}  // namespace odradek
