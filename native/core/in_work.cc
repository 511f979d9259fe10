#include "in_work.h"

#include <algorithm>
#include <utility>

#include "check.h"

namespace odradek {

InWork::InWork(uint32_t capacity, uint32_t max_in_flight)
    : capacity_(capacity), max_in_flight_(max_in_flight) {}

InWork::~InWork() {
  for (const Claimed& claimed : takeAll()) claimed.request.block->release();
}

uint32_t InWork::add(const Request& request) {
  ODRADEK_REQUIRE(room() > 0);
  uint32_t ticket = 0;
  if (free_.empty()) {
    ticket = static_cast<uint32_t>(entries_.size());
    entries_.emplace_back();
  } else {
    ticket = free_.back();
    free_.pop_back();
  }
  entries_[ticket] = {request, kNone};
  request.block->retain();
  Chain& chain = chainOf(request.channel);
  if (chain.last == kNone) {
    chain.first = ticket;
  } else {
    entries_[chain.last].next = ticket;
  }
  chain.last = ticket;
  count(chain, 1);
  return ticket;
}

bool InWork::settle(const ChannelId& channel, uint32_t sequence, uint32_t count) {
  Chain& chain = chainOf(channel);
  if (!isHere(chain, channel, sequence, count)) return false;
  for (uint32_t i = 0; i < count; i++) unlink(chain, sequence + i);
  return true;
}

void InWork::drop(const ChannelId& channel) {
  Chain& chain = chainOf(channel);
  while (chain.first != kNone && entries_[chain.first].request.channel == channel) {
    unlink(chain, entries_[chain.first].request.sequence);
  }
}

std::vector<InWork::Claimed> InWork::takeAll() {
  std::vector<Claimed> all;
  for (std::vector<Chain>& slots : chains_) {
    for (Chain& chain : slots) {
      for (uint32_t ticket = chain.first; ticket != kNone; ticket = entries_[ticket].next) {
        all.push_back({entries_[ticket].request, ticket});
      }
    }
  }
  entries_.clear();
  free_.clear();
  chains_.clear();
  active_ = 0;
  return all;
}

InWork::Chain& InWork::chainOf(const ChannelId& channel) {
  if (chains_.size() <= channel.processor) chains_.resize(channel.processor + 1);
  std::vector<Chain>& slots = chains_[channel.processor];
  if (slots.size() <= channel.slot) slots.resize(channel.slot + 1);
  return slots[channel.slot];
}

// Mostly they follow each other from the front; requests that came back from a thread that is lost
// stand behind younger ones.
bool InWork::isHere(const Chain& chain, const ChannelId& channel, uint32_t sequence,
                    uint32_t count) const {
  uint32_t ticket = chain.first;
  for (uint32_t found = 0; found < count; found++) {
    const auto is_next = [&] {
      const Request& request = entries_[ticket].request;
      return request.sequence == sequence + found && request.channel == channel;
    };
    if (ticket == kNone || !is_next()) {
      ticket = chain.first;
      while (ticket != kNone && !is_next()) ticket = entries_[ticket].next;
      if (ticket == kNone) return false;
    }
    ticket = entries_[ticket].next;
  }
  return true;
}

void InWork::unlink(Chain& chain, uint32_t sequence) {
  uint32_t before = kNone;
  uint32_t ticket = chain.first;
  while (entries_[ticket].request.sequence != sequence) {
    before = ticket;
    ticket = entries_[ticket].next;
  }
  Entry& entry = entries_[ticket];
  (before == kNone ? chain.first : entries_[before].next) = entry.next;
  if (chain.last == ticket) chain.last = before;
  std::exchange(entry.request.block, nullptr)->release();
  free_.push_back(ticket);
  count(chain, -1);
}

void InWork::count(Chain& chain, int32_t change) {
  active_ -= std::min(chain.length, max_in_flight_);
  chain.length += static_cast<uint32_t>(change);
  active_ += std::min(chain.length, max_in_flight_);
}

}  // namespace odradek
