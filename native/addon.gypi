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
        ["OS=='mac'", {
          "sources": ["<@(darwin_socket_sources)"],
          "xcode_settings": {
            "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
            "GCC_ENABLE_CPP_EXCEPTIONS": "NO",
            "GCC_ENABLE_CPP_RTTI": "NO",
            "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
            "MACOSX_DEPLOYMENT_TARGET": "11.0"
          }
        }, {
          "sources": ["<@(flagged_socket_sources)"]
        }],
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
