#include "options.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string_view>

namespace odradek::bench {
namespace {

constexpr const char* kUsage =
    "usage: load --port N [flags]\n"
    "\n"
    "  --mode load|storm|hold   default load: connections stay and carry requests\n"
    "                           storm: a connection for each request, closed after its reply\n"
    "                           hold: one request on each connection, which then stays open, idle\n"
    "  --connections N          default 64; in storm and load all at once\n"
    "  --pipeline N             requests under way on a connection, default 1; in a closed loop "
    "they\n"
    "                           go in one write, and the next ones when all are answered\n"
    "  --body-bytes N           size of an echoed frame's body, default 128, at least 16\n"
    "  --rate N                 requests a second over all connections instead of a closed loop;\n"
    "                           latency counts from the time at which a request was due\n"
    "  --mark-every N           every Nth request's body begins with 'M'; their latencies are "
    "kept\n"
    "                           apart\n"
    "  --request-hex HEX        instead of echoed frames: this Kafka request, length prefix "
    "included;\n"
    "  --request-file FILE      each gets a correlation id of its own, with which the reply must\n"
    "                           begin; replies are length-prefixed, of any length\n"
    "  --reply-bytes N          the length that those replies must have, prefix included\n"
    "  --seconds N              measured time, default 2; --warmup-seconds N before it, default "
    "0.5\n"
    "  --requests N             end the measured time sooner, when so many are answered\n"
    "  --spin                   never sleep while waiting\n"
    "  --attended               print {\"phase\":\"measuring\"} when the measured time begins, "
    "and\n"
    "                           keep the connections after the result until standard input ends\n"
    "\n"
    "Prints one JSON object.\n";

[[noreturn]] void refuse(std::string_view flag, const char* why) {
  std::fprintf(stderr, "load: %.*s %s\n\n%s", static_cast<int>(flag.size()), flag.data(), why,
               kUsage);
  std::exit(2);
}

// Walks over the arguments; each flag asks for its value in the type that it wants.
class Arguments {
 public:
  Arguments(int count, char** arguments) : left_(count - 1), next_(arguments + 1) {}

  bool nextFlag() {
    if (left_ == 0) return false;
    flag_ = take();
    return true;
  }

  std::string_view flag() const { return flag_; }

  std::string_view text() {
    if (left_ == 0) refuse(flag_, "needs a value");
    return take();
  }

  double number(double least, double most) {
    const std::string value(text());
    char* end = nullptr;
    const double number = std::strtod(value.c_str(), &end);
    const bool is_number = !value.empty() && *end == '\0' && std::isfinite(number);
    if (!is_number || number < least || number > most) refuse(flag_, "has a wrong value");
    return number;
  }

  size_t count(size_t least, size_t most) {
    const double value = number(static_cast<double>(least), static_cast<double>(most));
    if (value != std::floor(value)) refuse(flag_, "must be a whole number");
    return static_cast<size_t>(value);
  }

 private:
  std::string_view take() {
    left_--;
    return *next_++;
  }

  int left_;
  char** next_;
  std::string_view flag_;
};

Mode modeOf(Arguments& arguments) {
  const std::string_view mode = arguments.text();
  if (mode == "load") return Mode::kLoad;
  if (mode == "storm") return Mode::kStorm;
  if (mode == "hold") return Mode::kHold;
  refuse("--mode", "must be load, storm or hold");
}

std::string bytesOfHex(Arguments& arguments) {
  const std::string_view hex = arguments.text();
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    const std::string pair(hex.substr(i, 2));
    char* end = nullptr;
    bytes.push_back(static_cast<char>(std::strtoul(pair.c_str(), &end, 16)));
    if (end != pair.c_str() + 2) refuse(arguments.flag(), "is not hexadecimal");
  }
  if (hex.size() % 2 != 0) refuse(arguments.flag(), "has half a byte at its end");
  return bytes;
}

std::string bytesOfFile(Arguments& arguments) {
  std::ifstream file(std::string(arguments.text()), std::ios::binary);
  if (!file) refuse(arguments.flag(), "can't be read");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void readFlag(Arguments& arguments, Options& options) {
  constexpr double kLongest = 3600;
  const std::string_view flag = arguments.flag();
  if (flag == "--mode") {
    options.mode = modeOf(arguments);
  } else if (flag == "--port") {
    options.port = static_cast<uint16_t>(arguments.count(1, 65535));
  } else if (flag == "--connections") {
    options.connections = arguments.count(1, 1'000'000);
  } else if (flag == "--pipeline") {
    options.pipeline = arguments.count(1, 100'000);
  } else if (flag == "--body-bytes") {
    options.body_bytes = arguments.count(16, 1 << 30);
  } else if (flag == "--rate") {
    options.rate = arguments.number(0.001, 1e7);
  } else if (flag == "--mark-every") {
    options.mark_every = arguments.count(1, 1'000'000'000);
  } else if (flag == "--request-hex") {
    options.kafka_frame = bytesOfHex(arguments);
  } else if (flag == "--request-file") {
    options.kafka_frame = bytesOfFile(arguments);
  } else if (flag == "--reply-bytes") {
    options.reply_bytes = arguments.count(8, 1 << 30);
  } else if (flag == "--seconds") {
    options.seconds = arguments.number(0.001, kLongest);
  } else if (flag == "--warmup-seconds") {
    options.warmup_seconds = arguments.number(0, kLongest);
  } else if (flag == "--requests") {
    options.requests = arguments.count(1, 1'000'000'000);
  } else if (flag == "--spin") {
    options.spin = true;
  } else if (flag == "--attended") {
    options.is_attended = true;
  } else {
    refuse(flag, "is unknown");
  }
}

}  // namespace

Options readOptions(int count, char** arguments) {
  Options options;
  Arguments list(count, arguments);
  while (list.nextFlag()) readFlag(list, options);
  if (options.port == 0) refuse("--port", "is missing");
  if (options.rate > 0 && options.mode != Mode::kLoad) refuse("--rate", "goes with --mode load");
  const bool is_kafka = !options.kafka_frame.empty();
  if (is_kafka && options.mark_every > 0) refuse("--mark-every", "marks echoed frames alone");
  if (options.reply_bytes > 0 && !is_kafka) refuse("--reply-bytes", "goes with a Kafka request");
  return options;
}

}  // namespace odradek::bench
