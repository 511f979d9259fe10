// Every interleaving of the doorbell's steps, in sequential consistency and in weak memory, as the
// processors, the acceptors and the JavaScript thread use it; and that what breaks it is found.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "../core/doorbell.h"
#include "../core/mailbox.h"
#include "doorbell_mutants.h"
#include "doorbell_scenarios.h"

namespace odradek {
namespace {

using test::Exploration;
using test::Explorer;
using test::Use;
using Model = Explorer::Model;

template <typename Scenario>
Exploration explore(Model model) {
  test::ProgramOf<Scenario> program;
  Exploration exploration = Explorer::explore(program, model);
  std::printf("%s\n", exploration.text().c_str());
  return exploration;
}

template <typename Scenario>
void expectRight(Model model, double at_least) {
  const Exploration exploration = explore<Scenario>(model);
  EXPECT_EQ(exploration.finding, "");
  EXPECT_TRUE(exploration.is_exhaustive);
  EXPECT_GT(exploration.interleavings, at_least) << "too few to show anything";
}

template <typename Scenario>
void expectFinding(Model model, const std::string& finding) {
  const Exploration exploration = explore<Scenario>(model);
  EXPECT_NE(exploration.finding.find(finding), std::string::npos) << exploration.text();
  EXPECT_FALSE(exploration.schedule.empty());
}

// Sequential consistency doesn't show it: it takes the weak model.
template <typename Scenario>
void expectWeakFinding(const std::string& finding) {
  expectRight<Scenario>(Model::kSequential, 1);
  expectFinding<Scenario>(Model::kWeak, finding);
}

// --- The product ---------------------------------------------------------------------------------

// How often each producer rings. The sanitizers look at the explorer itself, a fiber a thread, and
// need no more than one round for that; they would make ten times as long of two.
#ifdef ODRADEK_DEBUG
constexpr uint32_t kRounds = 1;
constexpr uint32_t kConnections = 2;
constexpr double kMany = 100;
#else
constexpr uint32_t kRounds = 2;
constexpr uint32_t kConnections = 3;
constexpr double kMany = 1e8;
#endif

template <uint32_t kOften, bool kHasNetwork>
using Processor = test::ProcessorScenario<BasicDoorbell, Mailbox, kOften, kHasNetwork>;
template <uint32_t kOften>
using Handler = test::HandlerScenario<BasicDoorbell, Mailbox, kOften>;

TEST(Interleavings, AProcessorMissesNoCommand) {
  expectRight<Processor<kRounds, false>>(Model::kSequential, kMany);
}

TEST(Interleavings, AProcessorThatASocketWakesMissesNoCommand) {
  expectRight<Processor<1, true>>(Model::kSequential, 1e6);
}

TEST(Interleavings, AProcessorThatASocketWakesMissesNoCommandInWeakMemory) {
  expectRight<Processor<1, true>>(Model::kWeak, 1e6);
}

TEST(Interleavings, AProcessorMissesNoCommandInWeakMemory) {
  expectRight<Processor<kRounds, false>>(Model::kWeak, kMany);
}

TEST(Interleavings, AHandlerMissesNoRequestAndNoEvent) {
  expectRight<Handler<kRounds + 1>>(Model::kSequential, kMany);
}

TEST(Interleavings, AHandlerMissesNoRequestAndNoEventInWeakMemory) {
  expectRight<Handler<kRounds>>(Model::kWeak, kMany);
}

TEST(Interleavings, AnAcceptorMissesNoRoom) {
  expectRight<test::RoomScenario<BasicDoorbell, kConnections>>(Model::kSequential, kMany);
}

TEST(Interleavings, AnAcceptorMissesNoRoomInWeakMemory) {
  expectRight<test::RoomScenario<BasicDoorbell, kConnections>>(Model::kWeak, kMany);
}

TEST(Interleavings, AProcessorMissesNoPermit) {
  expectRight<test::GrantScenario<BasicDoorbell, kRounds + 1>>(Model::kSequential, kMany);
}

TEST(Interleavings, AProcessorMissesNoPermitInWeakMemory) {
  expectRight<test::GrantScenario<BasicDoorbell, kRounds>>(Model::kWeak, kMany);
}

template <uint32_t kRequests, bool kLeaves = false, Use kUse = Use::kProduct>
using Pool = test::PoolScenario<BasicDoorbell, kRequests, kLeaves, kUse>;

TEST(Interleavings, AHandlerPoolMissesNoRequest) {
  expectRight<Pool<kRounds + 1>>(Model::kSequential, kMany);
}

TEST(Interleavings, AHandlerPoolMissesNoRequestInWeakMemory) {
  expectRight<Pool<kRounds>>(Model::kWeak, 100);
}

TEST(Interleavings, AHandlerPoolOfWhichOneThreadRetiresMissesNoRequest) {
  expectRight<Pool<kRounds, true>>(Model::kSequential, 100);
}

TEST(Interleavings, APoolsThreadHasToBeKnownToRestAndToLookThen) {
  expectFinding<Pool<1, false, Use::kRestsBlindly>>(Model::kSequential, "lost wake-up");
  expectFinding<Pool<1, false, Use::kRestsUnknown>>(Model::kSequential, "lost wake-up");
}

TEST(Interleavings, APoolsThreadThatRetiresHasToPassOnThatItWasRung) {
  expectFinding<Pool<1, true, Use::kKeepsTheRing>>(Model::kSequential, "lost wake-up");
}

// --- Mutants of the doorbell ---------------------------------------------------------------------

template <template <template <typename> class> class Bell, Use kUse = Use::kProduct>
using Mutant = test::ProcessorScenario<Bell, Mailbox, 2, false, kUse>;
// One round each is enough, and soon explored in sequential consistency too.
template <template <template <typename> class> class Bell>
using SmallMutant = test::ProcessorScenario<Bell, Mailbox, 1>;

constexpr char kLost[] = "lost wake-up";
constexpr char kTwice[] = "woken though";
constexpr char kSpins[] = "goes round in circles";
constexpr char kRace[] = "data race";
constexpr char kDisorder[] = "out of its order";
constexpr char kTakenTwice[] = "is not what was put into it";

TEST(InterleavingMutants, SleepsByLoadAndStore) {
  expectFinding<Mutant<test::SleepsByLoadAndStore>>(Model::kSequential, kLost);
}

TEST(InterleavingMutants, SleepsWithoutLooking) {
  expectFinding<Mutant<test::SleepsWithoutLooking>>(Model::kSequential, kLost);
}

TEST(InterleavingMutants, RingsOnlyWhoSleeps) {
  expectFinding<Mutant<test::RingsOnlyWhoSleeps>>(Model::kSequential, kLost);
}

TEST(InterleavingMutants, RingsByLoadAndStore) {
  expectFinding<Mutant<test::RingsByLoadAndStore>>(Model::kSequential, kLost);
}

TEST(InterleavingMutants, RingLeavesAsleep) {
  expectFinding<Mutant<test::RingLeavesAsleep>>(Model::kSequential, kTwice);
}

TEST(InterleavingMutants, AwakeForgetsTheRing) {
  expectFinding<Mutant<test::AwakeForgetsTheRing>>(Model::kSequential, kSpins);
}

TEST(InterleavingMutants, AwakeByStore) {
  expectWeakFinding<SmallMutant<test::AwakeByStore>>(kLost);
}

TEST(InterleavingMutants, AwakeDoesNotAcquire) {
  expectWeakFinding<SmallMutant<test::AwakeDoesNotAcquire>>(kLost);
}

TEST(InterleavingMutants, RingDoesNotRelease) {
  expectWeakFinding<SmallMutant<test::RingDoesNotRelease>>(kLost);
}

// --- Mutants of its use --------------------------------------------------------------------------

TEST(InterleavingMutants, RingsBeforeThePush) {
  expectFinding<Mutant<BasicDoorbell, Use::kRingsFirst>>(Model::kSequential, kLost);
}

TEST(InterleavingMutants, LooksBeforeAwake) {
  expectFinding<Mutant<BasicDoorbell, Use::kLooksFirst>>(Model::kSequential, kLost);
}

TEST(InterleavingMutants, NeverCallsAwake) {
  expectFinding<Mutant<BasicDoorbell, Use::kStaysAsleep>>(Model::kSequential, kSpins);
}

TEST(InterleavingMutants, RoomIsMissedByWhoIsAboutToSleep) {
  expectFinding<test::RoomScenario<test::RingsOnlyWhoSleeps, 3>>(Model::kSequential, kLost);
}

TEST(InterleavingMutants, AnnouncesRoomBeforeItIsMade) {
  using Scenario = test::RoomScenario<BasicDoorbell, 3, Use::kAnnouncesFirst>;
  expectFinding<Scenario>(Model::kSequential, kLost);
}

TEST(InterleavingMutants, ClearsPermitsGrantedAfterCollecting) {
  using Scenario = test::GrantScenario<BasicDoorbell, 2, Use::kClearsLate>;
  expectFinding<Scenario>(Model::kSequential, kLost);
}

TEST(InterleavingMutants, GrantsAreNotSeenWithoutAcquire) {
  expectWeakFinding<test::GrantScenario<test::AwakeDoesNotAcquire, 1>>(kLost);
}

// --- Mutants of the mailbox ----------------------------------------------------------------------

template <template <typename, template <typename> class> class Box>
using BoxMutant = test::ProcessorScenario<BasicDoorbell, Box, 2, false>;
template <template <typename, template <typename> class> class Box>
using SmallBoxMutant = test::ProcessorScenario<BasicDoorbell, Box, 1>;

TEST(InterleavingMutants, PushesByStore) {
  expectFinding<BoxMutant<test::PushesByStore>>(Model::kSequential, kTakenTwice);
}

TEST(InterleavingMutants, TakesByStore) {
  expectFinding<BoxMutant<test::TakesByStore>>(Model::kSequential, kLost);
}

TEST(InterleavingMutants, LinksAfterPush) {
  expectFinding<BoxMutant<test::LinksAfterPush>>(Model::kWeak, kRace);
}

TEST(InterleavingMutants, TakesYoungestFirst) {
  expectFinding<BoxMutant<test::TakesYoungestFirst>>(Model::kSequential, kDisorder);
}

TEST(InterleavingMutants, PushDoesNotRelease) {
  expectWeakFinding<SmallBoxMutant<test::PushDoesNotRelease>>(kRace);
}

TEST(InterleavingMutants, TakeDoesNotAcquire) {
  expectWeakFinding<SmallBoxMutant<test::TakeDoesNotAcquire>>(kRace);
}

}  // namespace
}  // namespace odradek
