#include "plan.h"

namespace odradek::sim {
namespace {

Framing lengthPrefixed(Random& random) {
  Framing framing;
  framing.kind = Framing::Kind::kLengthPrefixed;
  framing.size_bytes = random.pick<uint32_t>({2, 4, 4, 4, 8});
  framing.big_endian = random.chance(700);
  framing.offset = random.pick<uint32_t>({0, 0, 0, 3});
  framing.strip = random.chance(700) ? framing.offset + framing.size_bytes : 0;
  return framing;
}

Framing makeFraming(Random& random) {
  Framing framing;
  switch (random.below(6)) {
    case 0:
      framing.kind = Framing::Kind::kVarintPrefixed;
      break;
    case 1:
      framing.kind = Framing::Kind::kDelimited;
      framing.delimiter_bytes = 2;
      framing.delimiter[0] = std::byte{'\r'};
      framing.delimiter[1] = std::byte{'\n'};
      framing.strip_delimiter = random.chance(500);
      break;
    case 2:
      framing.kind = Framing::Kind::kRaw;
      break;
    default:
      framing = lengthPrefixed(random);
      break;
  }
  framing.max_frame_bytes = random.pick<uint32_t>({300, 40'000, 300'000});
  if (framing.kind == Framing::Kind::kLengthPrefixed && framing.size_bytes == 2) {
    framing.max_frame_bytes = 300;
  }
  return framing;
}

// Most kinds of fault are absent from most seeds, so that the model knows what must happen.
void chooseRates(Random& random, Plan& plan) {
  const auto set = [&](Fault fault, uint32_t share, uint32_t most) {
    if (random.chance(share)) {
      plan.rates[static_cast<size_t>(fault)] = random.between(1, most);
    }
  };
  for (const Fault fault : {Fault::kReadAgain, Fault::kReadInterrupted, Fault::kWriteAgain,
                            Fault::kWriteInterrupted, Fault::kWriteCut, Fault::kAcceptInterrupted,
                            Fault::kAcceptAborted, Fault::kPollInterrupted}) {
    set(fault, 400, 200);
  }
  set(Fault::kSpuriousReadiness, 400, 50);
  for (const Fault fault : {Fault::kReadError, Fault::kWriteError, Fault::kWriteNoBuffers}) {
    set(fault, 120, 30);
  }
  set(Fault::kAddRefused, 100, 200);
  set(Fault::kShutdownFailed, 150, 300);
  set(Fault::kMemoryRefused, 150, 100);
  set(Fault::kAcceptNoBuffers, 150, 200);
  set(Fault::kSystemDescriptorsOut, 150, 200);
  set(Fault::kDescriptorsOut, 150, 20);
  set(Fault::kPollerLost, 20, 5);
  set(Fault::kDribble, 500, 900);
  set(Fault::kHalfClose, 500, 40);
  set(Fault::kTruncatedFrame, 300, 500);
  set(Fault::kClientGone, 300, 20);
  set(Fault::kClientReset, 300, 20);
  set(Fault::kStopsReading, 400, 100);
  set(Fault::kBrokenFrame, 250, 10);
  set(Fault::kUrgent, 200, 30);
  set(Fault::kNeverAnswers, 250, 30);
  set(Fault::kStrayReply, 150, 50);
  set(Fault::kLateCommand, 400, 100);
}

// By numbers of its own: those of the seeds without a pool are what they were without this.
void choosePool(uint64_t seed, Plan& plan) {
  Random random(seed ^ 0x706f6f6c);
  if (!random.chance(350)) return;
  plan.pool_threads = random.between(1, 4);
  plan.pool_has_affinity = random.chance(400);
  plan.pool_concurrency = random.pick<uint32_t>({1, 1, 3, 64});
  plan.negotiates = false;
  for (const Fault fault : {Fault::kHandlerLost, Fault::kHandlerRetired, Fault::kHandlerAdded}) {
    if (random.chance(500)) plan.rates[static_cast<size_t>(fault)] = random.between(20, 500);
  }
  plan.rates[static_cast<size_t>(Fault::kHandlerBusy)] = random.pick<uint32_t>({0, 50, 300});
}

// By numbers of its own, too. About as long as what passes between steps, and the rare long pause.
void chooseTimeouts(uint64_t seed, Plan& plan) {
  Random random(seed ^ 0x74696d65);
  if (!random.chance(300)) return;
  for (int64_t* ns : {&plan.timeouts.idle_ns, &plan.timeouts.frame_ns, &plan.timeouts.write_ns}) {
    if (random.chance(600)) *ns = random.pick<uint32_t>({5, 30, 200, 1500}) * int64_t{1'000'000};
  }
}

// About what a client sends or takes between steps.
void chooseThroughput(uint64_t seed, Plan& plan) {
  Random random(seed ^ 0x72617465);
  if (!random.chance(300)) return;
  Timeouts& timeouts = plan.timeouts;
  for (int64_t* rate : {&timeouts.min_read_rate, &timeouts.min_write_rate}) {
    if (random.chance(600)) *rate = random.pick<uint32_t>({1000, 30'000, 1'000'000});
  }
  timeouts.grace_ns = random.pick<uint32_t>({5, 30, 200}) * int64_t{1'000'000};
}

void chooseThrottles(uint64_t seed, Plan& plan) {
  Random random(seed ^ 0x7468726f);
  if (random.chance(300)) plan.throttles = random.pick<uint32_t>({20, 100, 500});
}

void choosePushes(uint64_t seed, Plan& plan) {
  Random random(seed ^ 0x70757368);
  if (random.chance(300)) plan.pushes = random.pick<uint32_t>({20, 100, 500});
}

void chooseConnectionLimits(uint64_t seed, Plan& plan) {
  Random random(seed ^ 0x71756f74);
  if (!random.chance(600)) return;
  plan.limits_addresses = random.chance(400);
  plan.connections = makeConnectionLimits(random, plan);
  if (random.chance(500)) plan.limit_changes = random.between(20, 300);
}

// Often less than a frame may have.
void chooseRequestBytes(uint64_t seed, Plan& plan) {
  Random random(seed ^ 0x6d656d6f);
  if (random.chance(300)) plan.request_bytes = random.pick<uint32_t>({1000, 3000, 20'000, 100'000});
}

void chooseOverloads(uint64_t seed, Plan& plan) {
  Random random(seed ^ 0x6f76656c);
  if (random.chance(300)) plan.overloads = random.between(20, 300);
}

// Often less than a client asks for before it reads.
void chooseUnsentBytes(uint64_t seed, Plan& plan) {
  Random random(seed ^ 0x756e7365);
  if (random.chance(200)) plan.unsent_bytes = random.pick<uint32_t>({1000, 10'000, 100'000});
}

// By numbers of its own, too.
void chooseListenerChanges(uint64_t seed, Plan& plan) {
  Random random(seed ^ 0x6c697374);
  if (!random.chance(300)) return;
  plan.listener_changes = random.between(20, 300);
  plan.cuts_listeners = random.chance(500);
  for (int i = 0; i < 5; i++) plan.framings.push_back(makeFraming(random));
}

}  // namespace

ConnectionLimits makeConnectionLimits(Random& random, const Plan& plan) {
  const auto count = [&] { return random.pick<uint32_t>({1, 3, 8, 20, kUnlimited}); };
  const auto rate = [&] { return random.pick<uint32_t>({3, 50, 1000, kUnlimited, kUnlimited}); };
  ConnectionLimits limits;
  if (random.chance(500)) limits.max_connections = count();
  if (plan.limits_addresses && random.chance(500)) limits.max_connections_per_ip = count();
  if (random.chance(400)) limits.creation_rate = rate();
  if (plan.limits_addresses && random.chance(500)) limits.creation_rate_per_ip = rate();
  limits.listeners.resize(plan.framings.size());
  for (ListenerLimits& listener : limits.listeners) {
    if (random.chance(300)) listener.max_connections = count();
    if (random.chance(300)) listener.creation_rate = rate();
  }
  if (limits.listeners.size() > 1) limits.listeners.back().is_protected = random.chance(400);
  return limits;
}

Plan makePlan(uint64_t seed, Random& random) {
  Plan plan;
  plan.is_threadless = random.chance(200);
  plan.processors = plan.is_threadless ? 1 : random.between(1, 3);
  plan.listeners = random.between(1, 2);
  for (uint32_t i = 0; i < plan.listeners; i++) plan.framings.push_back(makeFraming(random));
  plan.queued_max_requests = random.pick<uint32_t>({1, 2, 5, 64, 65, 500, 500});
  plan.max_pending_requests = random.pick<uint32_t>({1, 3, 20, 65536, 65536});
  plan.waits_for_accept = random.chance(250);
  plan.max_in_flight = random.pick<uint16_t>({1, 1, 1, 2, 5, 64, 100});
  // Now and then a storm, beyond what a processor's queue of new connections holds.
  plan.clients = random.chance(100) ? random.between(30, 60) : random.between(8, 24);
  plan.steps = random.between(250, 900);
  plan.end = random.chance(600) ? Plan::End::kDrain : Plan::End::kStop;
  plan.end_step = random.chance(300) ? random.below(plan.steps) : plan.steps;
  plan.busy_poll_ns = random.chance(150) ? 2000 : 0;
  plan.preemptions = random.pick<uint32_t>({0, 30, 200, 500});
  plan.late_answers = random.pick<uint32_t>({0, 100, 500, 900});
  plan.closing_answers = random.pick<uint32_t>({0, 0, 2, 20});
  plan.negotiates = random.chance(200);
  if (!plan.is_threadless && random.chance(500)) plan.resizes = random.between(20, 500);
  chooseRates(random, plan);
  choosePool(seed, plan);
  chooseListenerChanges(seed, plan);
  chooseTimeouts(seed, plan);
  chooseThroughput(seed, plan);
  chooseThrottles(seed, plan);
  choosePushes(seed, plan);
  chooseOverloads(seed, plan);
  // Half of the seeds let everybody in, and are told of room by themselves.
  if (seed % 2 == 1) {
    chooseConnectionLimits(seed, plan);
    chooseRequestBytes(seed, plan);
    chooseUnsentBytes(seed, plan);
    plan.tells_room_on_demand = Random(seed ^ 0x726f6f6d).chance(600);
  }
  return plan;
}

}  // namespace odradek::sim
