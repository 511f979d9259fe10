// One seed: the product's own acceptors, processors and request channel over a simulated kernel,
// clients and handlers, in an order that the seed chooses; first with faults, then without, until
// everything has ended. What must hold is checked by name all along.
#pragma once

#include <memory>
#include <vector>

#include "../core/acceptor.h"
#include "../core/request_channel.h"
#include "client.h"
#include "faulty_system.h"
#include "handler_pool.h"
#include "handlers.h"
#include "loop.h"
#include "stage.h"

namespace odradek::sim {

class World {
 public:
  World(uint64_t seed, bool is_loud, Tally& tally);
  ~World();

  // Returns the trace's digest; ends the process if a check fails.
  uint64_t run();

 private:
  // The parts of one thread, in the order in which they have to be made.
  struct ProcessorThread {
    ProcessorThread(uint32_t id, World& world);
    FaultyPoller poller;
    Processor processor;
    Loop loop;
  };
  struct AcceptorThread {
    AcceptorThread(uint32_t listener, World& world);
    const uint32_t listener;
    FaultyPoller poller;
    Acceptor acceptor;
    Loop loop;
  };

  void open();
  void connect();
  void addProcessor();
  // The phases.
  void runWithFaults();
  void finish();
  void stall();
  void end();
  void checkEnd();

  void step();
  void stepPool();
  bool hasLate(bool with_never) const;
  void answerLate(bool with_never);
  void runLoop(Loop& loop);
  void disturb();
  void changeLimits();
  void overload(uint32_t step);
  void applyLimits();
  Timeouts timeouts() const;
  void changeListeners();
  void addListener();
  void removeListener(AcceptorThread& thread);
  void endListener(uint32_t listener, ListenerEnds::Stage stage);
  void checkRemovedListeners();
  void resize();
  void handOverToNewcomer();
  std::vector<ProcessorThread*> serving() const;
  void growBy(size_t count);
  void finishResize();
  void beginEnd();
  void stop();
  void settle(bool with_never, bool with_clients = true);
  void runLoops();
  bool advanceToDeadline();
  std::vector<Loop*> runnable();
  bool wasLost() const;
  void checkBounds();
  void checkNothingWaits();
  bool isFull(uint32_t listener) const;
  ListenerLimits limitsOf(uint32_t listener) const;
  uint32_t letIn() const;
  void checkNobodyLetIn();
  void checkWaitsTold();
  void checkAccounts();

  Random random_;
  const Plan plan_;
  Trace trace_;
  Tally& tally_;
  test::FakeKernel kernel_;
  Stage stage_;
  FaultySockets sockets_;
  FaultyMemory memory_;
  // The channel's own, to be looked at.
  const HandlerSet* handler_set_ = nullptr;
  RequestChannel requests_;
  Handovers handovers_;
  ConnectionLimits limits_;
  uint32_t overload_step_ = 0;
  // Connections that were open when nobody more was to be let in, less those that have ended.
  uint32_t most_let_in_ = 0;
  MemoryPool memory_pool_;
  UnsentBytes unsent_;
  ConnectionQuotas quotas_;
  ListenerEnds ends_;
  ProcessorList processor_list_;
  Handlers handlers_;
  std::unique_ptr<HandlerPool> pool_;
  // By number; null where one was removed.
  std::vector<test::FakeListener*> listeners_;
  std::vector<uint32_t> draining_listeners_;
  std::vector<std::unique_ptr<ProcessorThread>> processors_;
  std::vector<std::unique_ptr<AcceptorThread>> acceptors_;
  std::vector<ChannelConfig> configs_;
  std::vector<Loop*> loops_;
  std::vector<ProcessorThread*> leaving_;
  std::vector<std::unique_ptr<Client>> clients_;
  uint64_t events_ = 0;
  bool is_ending_ = false;
  bool is_stopped_ = false;
};

}  // namespace odradek::sim
