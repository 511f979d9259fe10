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
  if (ConnectionInfo* info = infoOf(channel); info != nullptr) info->framing = framing;
}

void ConnectionDirectory::cut(const ChannelId& channel, CloseReason reason) {
  std::lock_guard lock(mutex_);
  if (ConnectionInfo* info = infoOf(channel); info != nullptr) info->cut = reason;
}

void ConnectionDirectory::remove(const ChannelId& channel) {
  std::lock_guard lock(mutex_);
  if (channel.slot < entries_.size()) entries_[channel.slot].info.reset();
}

ConnectionInfo* ConnectionDirectory::infoOf(const ChannelId& channel) {
  if (channel.slot >= entries_.size()) return nullptr;
  Entry& entry = entries_[channel.slot];
  return entry.generation == channel.generation && entry.info ? &*entry.info : nullptr;
}

std::optional<ConnectionInfo> ConnectionDirectory::find(const ChannelId& channel) const {
  std::lock_guard lock(mutex_);
  if (channel.slot >= entries_.size()) return std::nullopt;
  const Entry& entry = entries_[channel.slot];
  return entry.generation == channel.generation ? entry.info : std::nullopt;
}

}  // namespace odradek
