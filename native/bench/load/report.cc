#include "report.h"

#include <cstdio>

#include "tcp.h"

namespace odradek::bench {
namespace {

void printLatencies(const char* name, const Histogram& latencies) {
  const auto us = [](uint64_t ns) { return static_cast<double>(ns) / 1000; };
  std::printf(",\"%s\":{\"count\":%llu,\"p50\":%.2f,\"p99\":%.2f,\"p999\":%.2f,\"max\":%.2f}", name,
              static_cast<unsigned long long>(latencies.count()), us(latencies.percentile(0.5)),
              us(latencies.percentile(0.99)), us(latencies.percentile(0.999)), us(latencies.max()));
}

}  // namespace

Report::Report(const Options& options) : options_(options) {}

void Report::begin(int64_t now_ns) {
  began_ns_ = now_ns;
  cpu_before_ = cpuSeconds();
  requests_ = unanswered_ = 0;
  latencies_.clear();
  marked_latencies_.clear();
}

bool Report::hasEnough() const {
  return began_ns_ != 0 && options_.requests > 0 && requests_ >= options_.requests;
}

void Report::add(const Answer& answer, int64_t now_ns) {
  requests_++;
  Histogram& histogram = answer.is_marked ? marked_latencies_ : latencies_;
  histogram.record(now_ns - answer.started_ns);
}

void Report::addUnanswered(const Answer& answer, int64_t now_ns) {
  add(answer, now_ns);
  requests_--;
  unanswered_++;
}

void Report::print(int64_t now_ns) const {
  const double seconds = static_cast<double>(now_ns - began_ns_) / 1e9;
  std::printf("{\"requests\":%llu,\"seconds\":%.9f,\"perSecond\":%.2f",
              static_cast<unsigned long long>(requests_), seconds,
              static_cast<double>(requests_) / seconds);
  printLatencies("latencyUs", latencies_);
  if (options_.mark_every > 0) printLatencies("markedLatencyUs", marked_latencies_);
  if (options_.rate > 0) {
    std::printf(",\"unanswered\":%llu", static_cast<unsigned long long>(unanswered_));
  }
  std::printf(",\"generatorBusy\":%.3f}\n", (cpuSeconds() - cpu_before_) / seconds);
  std::fflush(stdout);
}

void announceMeasuring(const Options& options) {
  if (!options.is_attended) return;
  std::puts("{\"phase\":\"measuring\"}");
  std::fflush(stdout);
}

}  // namespace odradek::bench
