// The JavaScript thread of a simulation: claims requests, answers them at once, late or never, and
// takes events, by the same rules as src/transport/native and the in-thread handler pool.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "../core/consumer.h"
#include "../core/processor.h"
#include "../core/processor_list.h"
#include "../test/fake_memory.h"
#include "client.h"
#include "handler_pool.h"
#include "loop.h"
#include "stage.h"

namespace odradek::sim {

class Handlers final : public Consumer {
 public:
  Handlers(Stage& stage, RequestChannel& requests, const ProcessorList& processors)
      : stage_(stage), requests_(requests), processors_(processors) {}
  ~Handlers();

  // A processor without a thread, and where it waits.
  void drive(Processor& processor, FaultyPoller& poller) {
    threadless_ = &processor;
    threadless_poller_ = &poller;
  }
  // Whose connection has this port.
  void expect(uint16_t port, Client& client) { clients_[port] = &client; }
  // Threads of a pool claim the requests, and this is the server's thread.
  void leaveTo(HandlerPool& pool) { pool_ = &pool; }
  // A command out of turn, with its bytes.
  void command(Command command, std::string_view bytes) {
    give(std::move(command), bytes);
    flush();
  }

  bool hasOpened(const Client& client) const { return !clients_.contains(client.socket().port); }
  // Somebody rang, the last turn left work, or something is there for the processor.
  bool isAwake() const;
  // When it wakes by itself.
  int64_t deadline() const { return is_awake_ ? INT64_MAX : deadline_ns_; }
  // One turn: claims, events, handlers.
  void turn();
  // Answers one of the requests that are in a handler's hands.
  bool hasLate(bool with_never) const;
  void answerLate(bool with_never);

  // The server was told to end: from now on closed connections need no other reason.
  void drained() { was_drained_ = true; }
  void stopped() { was_stopped_ = true; }
  void lost() { was_lost_ = true; }
  void listenerRemoved(uint32_t listener) { removed_.insert(listener); }
  void listenerCut(uint32_t listener) { cut_.insert(listener); }
  // Connections of a listener.
  bool hasOpen(uint32_t listener) const;

  // With nothing to do every throttle has ended, and was told so.
  void checkNobodyThrottled() const;
  // After every loop has ended.
  void checkEnd() const;
  uint64_t opened() const { return opened_; }
  uint64_t closed() const { return closed_; }
  uint64_t unanswered() const { return unanswered_; }
  uint64_t fatals() const { return fatals_; }

  test::FakeMemory memory;

 private:
  struct Held {
    Request request;
    size_t at = 0;  // in the client's stream
  };
  // How much must have been written if it was sent, by sequence or number.
  using Marks = std::map<uint32_t, size_t>;

  struct Session {
    ChannelId id;
    Client* client = nullptr;
    std::deque<Held> queue;  // the first may be in a handler's hands
    bool is_in_work = false;
    bool is_never = false;
    bool is_last_here = true;  // no more of the batch is on its way
    uint32_t next_sequence = 0;
    // Where the core stopped to cut, once it has said so.
    std::optional<uint32_t> held_at;
    bool is_switching = false;
    // Nothing is begun until as many have ended.
    uint32_t throttles = 0;
    bool is_closing = false;
    bool is_accepted = true;
    bool is_cut = false;
    std::vector<CloseReason> ordered;
    uint32_t discarded = 0;
    // Pushes whose fate is awaited.
    Marks push_marks;
    uint32_t next_push = 0;
    // The same of replies.
    Marks sent_marks;
  };
  using Key = std::pair<uint32_t, uint64_t>;

  static Key keyOf(const ChannelId& id) {
    return {id.processor, uint64_t{id.slot} << 32 | id.generation};
  }

  void wake() override { is_awake_ = true; }

  void rest();
  void takeEvents();
  void opened(const Event& event);
  void closed(const Event& event);
  void sent(const Event& event, Marks Session::*marks, const char* what);
  void held(const Event& event);
  void throttleEnded(const Event& event);
  void deliver(const Request& request);
  void accept(Session& session);
  void startAll(Session& session);
  void start(Session& session);
  void switchFraming(Session& session);
  void answer(Session& session);
  void answerByBytes(Session& session, Command command);
  void answerByClose(Session& session, Command command);
  void refuse(Session& session);
  void throttle(Session& session);
  void push(Session& session);
  void discardAll(Session& session);
  void settleFront(Session& session, Command command, std::string_view bytes);
  std::string makeReply(const Session& session);
  void give(Command command, std::string_view bytes);
  void commandTheGone();
  void flush();
  void obeyResting(CommandBatch* batch);
  void checkReason(const Session& session, CloseReason reason) const;
  static bool isLate(const Session& session, bool with_never);

  Stage& stage_;
  RequestChannel& requests_;
  const ProcessorList& processors_;
  std::map<uint16_t, Client*> clients_;
  std::map<Key, std::unique_ptr<Session>> sessions_;
  std::vector<Session*> touched_;
  std::vector<ChannelId> gone_;
  bool is_awake_ = true;
  HandlerPool* pool_ = nullptr;
  Processor* threadless_ = nullptr;
  FaultyPoller* threadless_poller_ = nullptr;
  int64_t deadline_ns_ = INT64_MAX;
  bool is_resting_ = false;

  // The commands of a turn; their bytes lie in one slab.
  std::vector<Command> commands_;
  std::string slab_;
  bool may_extend_ = false;  // the last command may answer further requests
  int32_t released_ = 0;

  bool was_drained_ = false;
  bool was_stopped_ = false;
  bool was_lost_ = false;
  std::set<uint32_t> removed_;
  std::set<uint32_t> cut_;
  uint64_t opened_ = 0;
  uint64_t closed_ = 0;
  uint64_t unanswered_ = 0;
  uint64_t fatals_ = 0;
};

}  // namespace odradek::sim
