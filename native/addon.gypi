{
  "includes": ["sources.gypi"],
  "targets": [
    {
      "target_name": "odradek",
      "sources": [
        "<@(core_sources)",
        "<@(posix_sources)",
        "<@(addon_sources)"
      ],
      "defines": ["NAPI_VERSION=8"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=c++20", "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden", "-Wall", "-Wextra"],
      "cflags!": ["-fno-omit-frame-pointer"],
      "conditions": [
        ["OS=='linux'", {
          "sources": ["<@(epoll_sources)"],
          "ldflags": [
            "-static-libstdc++",
            "-static-libgcc",
            "-Wl,--version-script=<(module_root_dir)/native/addon/exports.map",
            "-Wl,-z,nodelete",
            "-Wl,-z,relro,-z,now"
          ]
        }, {
          "sources": ["<@(kqueue_sources)"]
        }]
      ]
    }
  ]
}
