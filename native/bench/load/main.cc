// The load generator: one thread on epoll. `load` without arguments prints what it can do.
#include "options.h"
#include "request.h"
#include "steady_load.h"
#include "tcp.h"
#include "visits.h"

int main(int count, char** arguments) {
  using namespace odradek::bench;
  const Options options = readOptions(count, arguments);
  raiseDescriptorLimit();
  const Request request = options.kafka_frame.empty()
                              ? Request::echoed(options.body_bytes)
                              : Request::kafka(options.kafka_frame, options.reply_bytes);
  switch (options.mode) {
    case Mode::kLoad:
      SteadyLoad(options, request).run();
      break;
    case Mode::kStorm:
      Visits(options, request).storm();
      break;
    case Mode::kHold:
      Visits(options, request).hold();
      break;
  }
  return 0;
}
