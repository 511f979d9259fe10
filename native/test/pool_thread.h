// A thread of the handler pool without a thread: claims, marks what it starts and answers when the
// test says so. What it still holds at its end is let go of.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "../core/request_handler.h"

namespace odradek::test {

// Processors that keep what they are told.
class FakeSink final : public CommandSink {
 public:
  ~FakeSink() { take(); }

  void submit(uint32_t, CommandBatch* batch) override {
    for (Command& command : batch->commands) commands_.push_back(std::move(command));
    delete batch;
  }
  std::optional<ConnectionInfo> describe(const ChannelId&) override { return std::nullopt; }

  // Lets go of the blocks.
  std::vector<Command> take() {
    for (Command& command : commands_) {
      if (command.block != nullptr) std::exchange(command.block, nullptr)->release();
    }
    return std::exchange(commands_, {});
  }

 private:
  std::vector<Command> commands_;
};

class PoolThread final : public Waker {
 public:
  struct Held {
    Request request;
    uint32_t ticket = 0;
  };

  PoolThread(uint32_t place, RequestChannel& requests, CommandSink& processors,
             uint32_t max_in_flight = 1, uint32_t capacity = 130)
      : marks_(capacity + 1) {
    handler =
        std::make_shared<RequestHandler>(place, capacity, max_in_flight, requests, processors);
    requests.enter(place, handler);
    EXPECT_TRUE(handler->enter(*this, marks_.data()));
  }
  ~PoolThread() {
    handler->leave();
    handler->detach().letGo();
    for (const Held& held : held_) held.request.block->release();
  }

  // The sequences of what it got.
  std::vector<uint32_t> claim() {
    std::vector<Request> taken;
    std::vector<uint32_t> tickets;
    handler->doorbell().awake();
    is_drained = handler->claim(taken, tickets);
    EXPECT_EQ(taken.size(), tickets.size());
    std::vector<uint32_t> sequences;
    for (size_t i = 0; i < taken.size(); i++) {
      held_.push_back({taken[i], tickets[i]});
      sequences.push_back(taken[i].sequence);
    }
    return sequences;
  }

  bool sleep(bool wants_requests = true) {
    return handler->rest(wants_requests) && handler->doorbell().trySleep();
  }

  void start(size_t index) { std::atomic_ref(marks_[held_[index].ticket]).store(1); }
  bool isGivenUp() { return std::atomic_ref(marks_.back()).load() != 0; }

  // Answers what it holds at this index, with no bytes.
  void answer(size_t index, uint32_t count = 1) {
    const auto first = held_.begin() + static_cast<std::ptrdiff_t>(index);
    Command command;
    command.channel = first->request.channel;
    command.sequence = first->request.sequence;
    command.settles = count;
    std::vector<Command> commands = {command};
    for (uint32_t i = 0; i < count; i++) first[i].request.block->release();
    held_.erase(first, first + count);
    handler->submit(commands);
  }

  // The same by these commands.
  void answer(size_t index, std::vector<Command> commands) {
    held_[index].request.block->release();
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
    handler->submit(commands);
  }

  std::vector<Event> takeEvents() {
    std::vector<Event> taken;
    Event* event = handler->events().takeAll();
    while (event != nullptr) {
      taken.push_back(*event);
      delete std::exchange(event, event->next);
    }
    return taken;
  }

  void wake() override {
    wakes++;
    if (on_wake) on_wake();
  }
  bool isWaiting() override { return is_waiting; }

  const std::vector<Held>& held() const { return held_; }

  std::shared_ptr<RequestHandler> handler;
  bool is_drained = false;
  uint32_t wakes = 0;
  // Where a real thread would go on at once, beside whoever has woken it.
  std::function<void()> on_wake;
  // While it sleeps; else its event loop is at work in something else.
  bool is_waiting = true;

 private:
  std::vector<uint8_t> marks_;
  std::vector<Held> held_;
};

}  // namespace odradek::test
