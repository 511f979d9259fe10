// The handler threads of a simulation with a pool: each claims, starts and answers requests in
// steps of its own, by the rules of src/transport/native/native-handler-thread.ts, and may be lost
// at any moment; what it had started its owner answers, by those of native-links.ts. Next to them
// the model: who has which request, and what each connection is owed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "../core/processor.h"
#include "../core/processor_list.h"
#include "../core/request_handler.h"
#include "../test/fake_memory.h"
#include "client.h"
#include "stage.h"

namespace odradek::sim {

class HandlerPool final : public CommandSink {
 public:
  // `give`: how the owner, which is the server's thread, gives a command.
  HandlerPool(Stage& stage, RequestChannel& requests, const HandlerSet& set,
              const ProcessorList& processors, std::function<void(Command, std::string_view)> give);
  ~HandlerPool();

  // Every place gets its thread.
  void enter();
  void expect(uint16_t port, Client& client) { clients_[port] = &client; }

  // Threads that have something to do.
  uint32_t awake() const;
  // The turn of one of them.
  void turn();
  // One thing that happens to the pool: a thread is lost, replaced, retired, or one more comes.
  void disturb();
  // Requests whose answer is still to come: late ones, and what lost threads had started.
  bool hasLate(bool with_never) const;
  void answerLate(bool with_never);
  // No more faults: every place has its thread again.
  void restore();
  void stop();

  // Its owner has heard that the connection is closed: so has, or will have, every thread.
  void cut(const ChannelId& channel) { cut_.insert(keyOf(channel)); }

  // Of a connection that has ended: how many of its requests got no answer, for which reasons it
  // may have been closed.
  struct Ended {
    uint32_t discarded = 0;
    std::vector<CloseReason> ordered;
  };
  Ended closed(const ChannelId& channel, bool is_stopped);

  // Requests in the queue beyond those that have a permit.
  uint32_t putBack() const;
  void checkNobodyIdles() const;
  void checkKept() const;

  void submit(uint32_t processor, CommandBatch* batch) override;
  std::optional<ConnectionInfo> describe(const ChannelId& channel) override;

  test::FakeMemory memory;

 private:
  using Key = std::pair<uint32_t, uint64_t>;
  struct Thread;
  // Where a request is, from the first claim until its turn to be answered has come.
  struct Flight {
    enum class State : uint8_t { kClaimed, kStarted, kPutBack, kOrphan, kWaiting, kAnswered };
    State state = State::kClaimed;
    const Thread* thread = nullptr;
    size_t at = 0;  // in the client's stream
    std::string bytes;
    CloseReason reason = CloseReason::kNone;
    bool discarded = false;
  };
  struct Session {
    ChannelId id;
    Client* client = nullptr;
    std::map<uint32_t, Flight> flights;
    uint32_t next_sequence = 0;
    uint32_t next_reply = 0;
    // Of those that have claimed its requests, the last.
    std::optional<uint32_t> place;
    bool is_cut = false;   // a command closed it
    bool is_over = false;  // a reply closed it
    Ended end;
    // What lost threads had behind requests that are still to be answered.
    std::vector<Request> waiting;
  };
  struct Held {
    Request request;
    uint32_t ticket = 0;
    bool is_started = false;
    bool is_never = false;
    bool is_refused = false;
  };
  struct Thread final : Waker {
    void wake() override {
      was_idle = isWaiting() && handler->inWork() == 0;
      is_awake = true;
    }
    bool isWaiting() override { return !is_awake && !is_busy; }

    std::shared_ptr<RequestHandler> handler;
    std::vector<uint8_t> marks;
    std::vector<Held> held;
    // Connections that it has asked about, until it hears of their end: the client's port.
    std::map<Key, uint16_t> met;
    // Those of them of which it has heard that they are closed.
    std::set<Key> cut;
    // Those of which it begins nothing until so many throttles have ended.
    std::map<Key, uint32_t> throttles;
    // Its turn comes: it runs, or was rung.
    bool is_awake = true;
    // It is at work in what is no request's turn, until that is done.
    bool is_busy = false;
    // It was rung out of its event loop, with nothing in work, and has taken no turn since.
    bool was_idle = false;
    // It has claimed, and goes on with that in its next turn.
    bool is_in_turn = false;
    bool wants = true;
    bool is_retiring = false;
  };
  struct Orphan {
    ChannelId channel;
    uint32_t sequence = 0;
  };
  static Key keyOf(const ChannelId& id) {
    return {id.processor, uint64_t{id.slot} << 32 | id.generation};
  }

  void open(uint32_t place);
  Session* find(const ChannelId& channel);
  Session* meet(Thread& thread, const ChannelId& channel);
  void turn(Thread& thread);
  bool hasPendingRoom() const;
  void takeEvents(Thread& thread);
  void deliver(Thread& thread, const Request& request, uint32_t ticket);
  void checkOrder(const Thread& thread, Session& session, const Request& request);
  void startAll(Thread& thread);
  bool mayStart(const Thread& thread, const Held& held) const;
  void checkHeard(const Thread& thread) const;
  void checkIdleFirst(const Thread& thread) const;
  void start(Thread& thread, Held& held, Session& session);
  void discard(Thread& thread, size_t index, Session& session);
  Command throttle(Thread& thread, Session& session);
  Command push(Session& session);
  void answer(Thread& thread, size_t index);
  void answerGone(Thread& thread);
  Command makeReply(Session& session, uint32_t sequence, std::string* bytes);
  Command makeRefusal(Session& session, uint32_t sequence, std::string* bytes);
  void note(Session& session, const Command& command, std::string bytes);
  void advance(Session& session);
  void give(Thread& thread, std::vector<Command>& commands, std::string_view bytes);
  void answerOrphan(size_t index);
  void endWaiting(Session& session);
  void lose(uint32_t place);
  void detach(Thread& thread);
  void retire(uint32_t place);
  void dropHeld(Thread& thread, const ChannelId* channel);
  static uint32_t inFlight(const Thread& thread);

  Stage& stage_;
  RequestChannel& requests_;
  const HandlerSet& set_;
  const ProcessorList& processors_;
  const std::function<void(Command, std::string_view)> give_;
  // Requests that were put back, of connections that have ended since.
  uint32_t left_behind_ = 0;
  std::map<uint16_t, Client*> clients_;
  std::map<Key, Session> sessions_;
  std::set<Key> cut_;
  // By place; null: to be replaced, or retired.
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<bool> is_retired_;
  // Those that don't know yet that they were given up.
  std::vector<std::unique_ptr<Thread>> gone_;
  std::vector<Orphan> orphans_;
  bool is_stopped_ = false;
};

}  // namespace odradek::sim
