{
  "variables": {
    "core_sources": [
      "native/core/acceptor.cc",
      "native/core/block.cc",
      "native/core/connection_directory.cc",
      "native/core/connection_quotas.cc",
      "native/core/framing.cc",
      "native/core/handler_set.cc",
      "native/core/in_work.cc",
      "native/core/ip_address.cc",
      "native/core/memory_pool.cc",
      "native/core/mute_state.cc",
      "native/core/processor.cc",
      "native/core/processor_channel.cc",
      "native/core/processor_expiry.cc",
      "native/core/processor_handover.cc",
      "native/core/processor_listeners.cc",
      "native/core/processor_memory.cc",
      "native/core/processor_throttle.cc",
      "native/core/processor_unsent.cc",
      "native/core/receive.cc",
      "native/core/request_channel.cc",
      "native/core/request_handler.cc",
      "native/core/send.cc",
      "native/core/socket_server.cc",
      "native/core/unsent_bytes.cc"
    ],
    "posix_sources": [
      "native/platform/ip_text.cc",
      "native/platform/posix_socket_ops.cc",
      "native/platform/spare_mappings.cc",
      "native/platform/system_memory.cc",
      "native/platform/system_platform.cc"
    ],
    "flagged_socket_sources": [
      "native/platform/flagged_socket_calls.cc"
    ],
    "darwin_socket_sources": [
      "native/platform/darwin_socket_calls.cc"
    ],
    "epoll_sources": [
      "native/platform/epoll_poller.cc"
    ],
    "kqueue_sources": [
      "native/platform/kqueue_poller.cc"
    ],
    "addon_sources": [
      "native/addon/addon.cc",
      "native/addon/config.cc",
      "native/addon/large_frames.cc",
      "native/addon/loop_meter.cc",
      "native/addon/loop_watcher.cc",
      "native/addon/native_handler.cc",
      "native/addon/native_server.cc",
      "native/addon/tables.cc"
    ]
  }
}
