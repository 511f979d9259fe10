# GoogleTest, for the tests and for the fuzzers that share their benches.
find_package(GTest QUIET)
if(NOT GTest_FOUND)
  # For machines without GoogleTest (Debian: libgtest-dev). Needs the internet. Unverified: the
  # machines that these tests have run on had it installed.
  include(FetchContent)
  FetchContent_Declare(googletest
    GIT_REPOSITORY https://github.com/google/googletest.git
    GIT_TAG v1.14.0)
  set(INSTALL_GTEST OFF CACHE BOOL "" FORCE)
  set(BUILD_GMOCK OFF CACHE BOOL "" FORCE)
  FetchContent_MakeAvailable(googletest)
  if(NOT TARGET GTest::gtest_main)
    add_library(GTest::gtest_main ALIAS gtest_main)
  endif()
endif()
