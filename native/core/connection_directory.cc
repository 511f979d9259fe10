#include "connection_directory.h"

#include <utility>

namespace odradek {

void ConnectionDirectory::add(const ChannelId& channel, ConnectionInfo info) {
  std::lock_guard lock(mutex_);
  if (entries_.size() <= channel.slot) entries_.resize(channel.slot + 1);
  entries_[channel.slot] = {channel.generation, std::move(info)};
}

void ConnectionDirectory::setFraming(const ChannelId& channel, const Framing& framing) {
  std::lock_guard lock(mutex_);
  if (channel.slot >= entries_.size()) return;
  Entry& entry = entries_[channel.slot];
  if (entry.generation == channel.generation && entry.info) entry.info->framing = framing;
}

void ConnectionDirectory::remove(const ChannelId& channel) {
  std::lock_guard lock(mutex_);
  if (channel.slot < entries_.size()) entries_[channel.slot].info.reset();
}

std::optional<ConnectionInfo> ConnectionDirectory::find(const ChannelId& channel) const {
  std::lock_guard lock(mutex_);
  if (channel.slot >= entries_.size()) return std::nullopt;
  const Entry& entry = entries_[channel.slot];
  return entry.generation == channel.generation ? entry.info : std::nullopt;
}

}  // namespace odradek
