// Kafka's Processor: the loop that owns the connections given to it, reads and frames their
// requests, and writes their replies. Everything but offer(), submit(), drain(), stop(), leave()
// and the counters belongs to its thread; the loop can be stepped turn by turn without one, also by
// a loop that waits elsewhere.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "block.h"
#include "bounds.h"
#include "channel.h"
#include "clock.h"
#include "connection_directory.h"
#include "connection_quotas.h"
#include "consumer.h"
#include "counter.h"
#include "gate.h"
#include "handovers.h"
#include "listener_ends.h"
#include "mailbox.h"
#include "memory_pool.h"
#include "poller.h"
#include "request_channel.h"
#include "ring.h"
#include "socket_ops.h"
#include "stopwatch.h"
#include "throttles.h"
#include "time_histogram.h"
#include "timeouts.h"
#include "unsent_bytes.h"

namespace odradek {

// What a processor needs to know of a listener. Lives as long as the processors.
struct ChannelConfig {
  const Framing* framing = nullptr;
  // Connections are read only after an accept command (the service has an onConnect).
  bool waits_for_accept = false;
  // A connection is read while fewer of its frames than this are unsettled.
  uint16_t max_in_flight = 1;
};

// An accepted socket on its way to a processor.
struct NewConnection {
  int fd = -1;
  uint32_t listener = 0;
  const ChannelConfig* config = nullptr;
  Endpoint local;
  Endpoint remote;
  Admission admission;
};

struct ProcessorCounters {
  Counter turns, polls, reads, writes;
  Counter bytes_read, bytes_written;
  Counter opened, closed, requests, responses;
  Counter connections, waiting_for_room, waiting_for_memory, stray_replies;
  // Closed since their peers left them waiting for too long; and since there were too many.
  Counter expired, evicted;
  // Throttles that were asked for, and connections that have one at this moment.
  Counter throttles, throttled;
  // Closed since the server held too much for its peers.
  Counter shed;
};

// Kafka's RequestMetrics, as far as a processor sees them.
struct ProcessorTimes {
  // ThrottleTimeMs: what each throttle asked for.
  TimeHistogram throttle;
  // ResponseQueueTimeMs: replies that were taken up to be sent.
  TimeHistogram response_queue;
  // ResponseSendTimeMs and TotalTimeMs: replies whose last byte the kernel has.
  TimeHistogram response_send, total;
};

struct ProcessorOptions {
  // The loop sleeps in its own poll; or wherever it is driven from, see rest().
  bool sleeps_elsewhere = false;
  // How long a loop with nothing to do looks again and again before it sleeps.
  int64_t busy_poll_ns = 0;
  Timeouts timeouts = {};
};

class Processor final : public FrameSink,
                        public PermitWaiter,
                        public MemoryWaiter,
                        public UnsentHolder {
 public:
  struct Seams {
    Poller& poller;
    SocketOps& sockets;
    Clock& clock;
    Memory& memory;
  };

  enum class Offer : uint8_t { kTaken, kFull, kGone };

  Processor(uint32_t id, Seams seams, RequestChannel& requests, MemoryPool& memory_pool,
            UnsentBytes& unsent, Handovers& handovers, ConnectionQuotas& quotas, ListenerEnds& ends,
            Consumer& consumer, ProcessorOptions options = {});
  Processor(const Processor&) = delete;
  Processor& operator=(const Processor&) = delete;
  ~Processor();

  // Opens the poller; 0 or errno.
  int open();

  // One turn of the loop. False: the loop has ended and everything is closed.
  bool turn();

  // For a loop that sleeps elsewhere, after its turns: true if it may wait until its poller's
  // descriptor is readable or `*timeout_ns` is over (below 0: without end); false: take a turn.
  bool rest(int64_t* timeout_ns);

  // For the same while it rests, instead of submit(): obeys at once, so nobody has to be woken. The
  // rest is over.
  void obey(CommandBatch* batch);

  // Any thread. With kFull the listener is told when there is room.
  Offer offer(NewConnection& connection, RoomListener& listener);

  // Any thread. A processor that has ended drops the batch. Doesn't block, but for the time that it
  // takes to look up the owners of connections that were handed over, once some were.
  void submit(CommandBatch* batch);

  // Any thread: read no more, answer what was received, close each connection when it is done.
  void drain();

  // Any thread: close, in order, each connection on which nothing is under way.
  void closeIdle();

  // Any thread: from now on, also for what is waited for already.
  void setTimeouts(const Timeouts& timeouts);

  // Any thread: there are more connections than there may be, see ConnectionQuotas::takeExcess().
  void closeExcess() { wakeUp(); }

  // Any thread: ListenerEnds say something new.
  void endListeners() { wakeUp(); }

  // Any thread: an acceptor that goes is not rung any more when this returns.
  void forget(const RoomListener& listener);

  // Any thread: end the loop, closing every connection with `reason`.
  void stop(CloseReason reason);

  // Any thread: what handler threads may know of a connection. Kept where there is a pool.
  std::optional<ConnectionInfo> describe(const ChannelId& channel) const {
    return directory_.find(channel);
  }

  // Any thread: hand every connection, whatever is under way on it, to `heirs`, and end the loop
  // without closing anything; kLeft tells when. False: it has ended already. `heirs` must not leave
  // meanwhile; with none of them alive it ends as if its poller were lost.
  bool leave(std::vector<Processor*> heirs);

  // After it has left, or before its first turn: its loop may run (again); 0 or errno. Connections
  // are offered to it in vain until openDoors().
  int comeBack();
  void closeDoors();
  void openDoors();

  // Any thread: whether it has neither left nor ended.
  bool isHere() const {
    return !has_left_.load(std::memory_order_acquire) &&
           !has_ended_.load(std::memory_order_acquire);
  }

  bool hasLeft() const { return has_left_.load(std::memory_order_acquire); }

  // Any thread: since when the longest waiting connection has waited for room in the request queue
  // or for memory, as of the last turn; INT64_MAX: none does.
  int64_t waitsSinceNs() const { return waits_since_ns_.load(std::memory_order_relaxed); }

  uint32_t id() const { return id_; }
  const ProcessorCounters& counters() const { return counters_; }
  const ProcessorTimes& times() const { return times_; }
  // Any thread: for how long the loop has slept, in all.
  int64_t idleNs() const { return idle_.totalNs(clock_); }
  // Times another thread had to wake the loop out of its poll.
  uint64_t wakes() const { return wakes_.load(std::memory_order_relaxed); }

 private:
  // Kafka's seven steps.
  void configureNewConnections();
  void processNewResponses();
  void poll();
  void processCompletedReceives();
  void processCompletedSends();
  void processDisconnected();
  void closeExcessConnections();

  // Time-outs (processor_expiry.cc).
  enum class Awaited : uint8_t { kNothing, kRequest, kRestOfFrame, kRoomToWrite };
  void startClock(Channel& channel);
  void clockGoesOn();
  void noteTaken(Channel& channel, uint64_t bytes, bool is_full);
  void sweepAt(int64_t due_ns);
  Awaited awaitedOf(const Channel& channel) const;
  Wait waitOf(const Channel& channel) const;
  void closeIdleIfAsked();
  void noteSeen(int count);
  void takeTimeouts();
  void closeExpired();
  int64_t timeAway(int64_t before_ns) const;
  void closeIfExpired(Channel& channel);

  // Throttling (processor_throttle.cc).
  void applyThrottle(Channel& channel, const Command& command);
  void startThrottle(Channel& channel);
  void endDueThrottles();
  void endThrottles(Channel& channel);
  void endThrottle(Channel& channel);
  void tellThrottleEnded(const Channel& channel, const Throttle& throttle);

  // Too many connections (processor_expiry.cc).
  void evictExcess();

  // A connection that waits for room in the request queue, or for memory.
  struct Waiter {
    // By default nobody's.
    Place place = {UINT32_MAX, 0};
    int64_t since_ns = 0;
  };
  void noteLongestWait();
  Channel* findRoomWaiter(const Waiter& waiter);

  // Memory for what is read (processor_memory.cc).
  int64_t findMemory(Channel& channel);
  void awaitMemory(Channel& channel);
  void dropStaleMemoryWaiters();
  Channel* findMemoryWaiter(const Waiter& waiter);
  void leaveMemoryWaiters(Channel& channel);
  void readAgain(Channel& channel, int64_t since_ns);
  void serveMemoryWaiters();
  void giveMemory();
  bool isOverdrawing(const Channel& channel) const;
  void balanceMemory();
  void beginOverdrawing();

  // MemoryWaiter.
  void memoryGranted() override;

  // Bytes that peers have not taken (processor_unsent.cc).
  void tellUnsent();
  void dropUnsent(Channel& channel);
  void shedIfAsked();
  // UnsentHolder.
  void tooMuchUnsent() override;

  // Removed listeners (processor_listeners.cc).
  void noteEnds();
  void noteEnd(Channel& channel);
  void endListenersIfAsked();
  ListenerEnds::Stage stageOf(uint32_t listener) const;
  void endWithListener(Channel& channel);
  bool isDraining(const Channel& channel) const { return draining_ || channel.is_draining; }
  void cut(Channel& channel);
  void abandon(Channel& channel);

  // FrameSink: the frames of current_.
  bool admit() override;
  void complete(Block* block, size_t offset, const Cut& cut) override;
  void broken(const Cut& cut) override { broken_ = cut; }

  // PermitWaiter.
  void permitsGranted() override;

  static void dropBatch(CommandBatch* batch);
  void push(CommandBatch* batch);
  void wakeUp();

  // Handing over (processor_handover.cc).
  void handOver();
  bool giveAll();
  std::vector<Processor*> livingHeirs() const;
  std::vector<Channel*> inOrderOfWaiting();
  std::unique_ptr<Channel> giveAway(Channel& channel, Processor* heir);
  void bring(CommandBatch* batch);
  void adoptAll(CommandBatch& batch);
  void adopt(std::unique_ptr<Channel> arrived);
  void sortLingerers();
  void refuseHandovers();
  void tellLeft();
  void forgetAdopted(const Channel& channel);
  void setGate(bool is_closed);
  void collectReturnedSlots();

  void takeNewConnections();
  void ringRoomListeners();
  void configure(NewConnection& connection);
  void refuse(const NewConnection& connection);
  void applyCommands();
  void apply(Command& command);
  void applyReply(Channel& channel, Command& command);
  void applyPush(Channel& channel, const Command& command);
  void giveReply(Channel& channel, const Segment& segment, CloseReason reason);
  void applyClose(Channel& channel, const Command& command);
  void applyHold(Channel& channel, const Command& command);
  void applySetFraming(Channel& channel, Command& command);
  void reframe(Channel& channel, const Command& command);
  void leaveRoomWaiters(Channel& channel);
  static bool isMostlyStale(size_t places, const Counter& waiting);
  void dropStaleWaiters();
  void serveWaiters();
  int64_t pollTimeout();
  Channel* firstLingerer();
  int busyPoll();
  int waitForEvents();
  void noteEvent(const PollEvent& event);
  void serveReady();
  void serve(Channel& channel);
  uint32_t framesPerBatch(const Channel& channel) const;
  bool canFrame(const Channel& channel) const;
  bool canRead(const Channel& channel) const;
  void cutHeldFrames(Channel& channel);
  void read(Channel& channel);
  void readOnce(Channel& channel, size_t* budget);
  void inputEnded(Channel& channel);
  void framed(Channel& channel, Receive::Outcome outcome, size_t held_before);
  void dropInput(Channel& channel);
  void flush(Channel& channel);
  void awaitRoom(Channel& channel);
  Segment takenUp(const Segment& segment);
  void settleSent(Channel& channel);
  void settle(Channel& channel, const Segment& segment, bool sent);
  void wokeUp();
  void drainIfAsked();
  void obeyLastOrders();
  void beginClose(Channel& channel, CloseReason reason);
  void finishIfDone(Channel& channel);
  void shutDown(Channel& channel);
  void discardInput(Channel& channel);
  void fail(Channel& channel, CloseReason reason, int error);
  void closeSocket(Channel& channel);
  void closeDescriptor(Channel& channel);
  void markReady(Channel& channel);
  void markCompletedSend(Channel& channel);
  void markDisconnected(Channel& channel);
  void tellKept();
  void closeAll(CloseReason reason);
  void reportClosed(Channel& channel);

  Channel* find(const Place& place);
  Channel* find(const ChannelId& id);
  Channel* takeSlot(std::unique_ptr<Channel> channel);
  void freeSlot(const Channel& channel);
  void post(Event* event);
  // Of the processor that opened it: its id names a slot there.
  ConnectionDirectory& directoryOf(const Channel& channel) {
    return channel.origin == nullptr ? directory_ : channel.origin->directory_;
  }
  void postTo(uint32_t origin, Event* event);
  void postToAll(const Channel& channel, Event::Kind kind);
  void postCut(const Channel& channel);

  const uint32_t id_;
  const ProcessorOptions options_;
  Poller& poller_;
  SocketOps& sockets_;
  Clock& clock_;
  Memory& memory_;
  RequestChannel& requests_;
  MemoryPool& memory_pool_;
  UnsentBytes& unsent_;
  ConnectionQuotas& quotas_;
  ListenerEnds& ends_;
  Consumer& consumer_;
  ProcessorCounters counters_;
  ProcessorTimes times_;

  SlabPool* pool_;
  SlabWriter slab_;

  std::vector<std::unique_ptr<Channel>> slots_;
  std::vector<uint32_t> generations_;
  std::vector<uint32_t> free_slots_;
  uint32_t next_index_ = 0;
  // Those that other processors have opened.
  std::unordered_map<ChannelId, Channel*, ChannelIdHash> adopted_;

  std::vector<NewConnection> configuring_;

  // The lists of a turn; nothing is freed before processDisconnected().
  std::vector<Place> ready_;
  std::vector<Place> serving_;
  std::vector<Channel*> touched_;
  std::vector<Channel*> receivers_;
  std::vector<Request> completed_receives_;
  std::vector<Channel*> completed_sends_;
  std::vector<Channel*> disconnected_;
  std::array<PollEvent, kEventsPerPoll> events_;
  bool events_posted_ = false;
  int64_t now_ns_ = 0;

  // The connection whose frames are being cut, and the permits left for it and those after it.
  Channel* current_ = nullptr;
  // What was wrong with the last frame that broke its framing.
  Cut broken_;
  uint32_t permits_ = 0;
  // Connections that found no permit, longest waiting first.
  Ring<Waiter> room_waiters_;
  bool serving_waiters_ = false;
  // Bytes taken from the memory pool, and settled, less those read: below 0 where more were.
  int64_t memory_balance_ = 0;
  // Bytes of the frames that the last cut completed.
  size_t completed_bytes_ = 0;
  // Connections that found no memory, longest waiting first.
  Ring<Waiter> memory_waiters_;
  // Which one overdraws, since when it waits, and the sequence of the frame that it may complete.
  Waiter overdrawing_;
  uint32_t overdrawing_sequence_ = 0;
  bool is_overdrawing_ = false;
  // Somebody may have a use for overdrawing, or it is this processor's turn.
  bool may_overdraw_ = false;
  // Bytes that were given in this turn, less those that left.
  int64_t unsent_change_ = 0;
  // Frames of one connection don't stand together among the completed receives.
  bool is_mixed_ = false;
  // Requests whose replies were kept for their turn in this turn, less those that have left.
  int32_t kept_change_ = 0;
  // Earliest deadline first.
  Ring<Place> lingerers_;
  Throttles throttles_;
  Timeouts timeouts_;
  int64_t shortest_timeout_ns_;
  int64_t sweep_due_ns_ = INT64_MAX;
  // The time of the sweep that comes behind the next poll; 0: none does.
  int64_t sweep_at_ns_ = 0;
  // How long the loop was kept away before it; and when it last looked whether one is due.
  int64_t away_ns_ = 0;
  int64_t looked_at_ns_ = 0;
  // Connections of whose events the polls since then may not have told.
  uint64_t unseen_ = 0;

  bool draining_ = false;
  // What ListenerEnds said last, and which version that was.
  std::vector<ListenerEnds::Stage> stages_;
  uint32_t seen_ends_ = 0;
  bool has_new_ends_ = false;
  bool is_ending_ = false;
  int lost_ = 0;

  // Shared with other threads.
  ConnectionDirectory directory_;
  Doorbell doorbell_;
  Mailbox<CommandBatch> commands_;
  std::atomic<uint64_t> wakes_{0};
  Stopwatch idle_;
  std::atomic<bool> drain_asked_{false};
  std::atomic<bool> close_idle_asked_{false};
  std::atomic<bool> timeouts_asked_{false};
  std::atomic<bool> permits_granted_{false};
  std::atomic<bool> memory_granted_{false};
  std::atomic<int64_t> waits_since_ns_{INT64_MAX};
  std::atomic<bool> shed_asked_{false};
  std::atomic<CloseReason> stop_asked_{CloseReason::kNone};
  std::atomic<bool> leave_asked_{false};
  std::atomic<bool> has_ended_{false};
  std::atomic<bool> has_left_{false};
  std::mutex connections_mutex_;
  bool has_doors_open_ = true;
  Timeouts asked_timeouts_;
  Ring<NewConnection> new_connections_;
  std::vector<RoomListener*> room_listeners_;

  Handovers& handovers_;
  // What is submitted goes through it to the mailbox. Closed while some of what this has opened is
  // with another processor, or it has left: then commands are brought to their connections under
  // handovers_.mutex.
  Gate gate_;
  // Guarded by handovers_.mutex: whether the gate is closed; whether it takes what others hand
  // over; how many connections it opened that are (or once were) with others; slots of such that
  // have ended.
  bool is_gate_closed_ = false;
  bool takes_handovers_ = true;
  uint32_t away_ = 0;
  std::vector<uint32_t> returned_slots_;
  std::atomic<bool> has_returned_slots_{false};
  // Written before leave_asked_.
  std::vector<Processor*> heirs_;
};

}  // namespace odradek
