#include "system_platform.h"

#include <pthread.h>
#include <signal.h>

#include <ctime>
#include <new>

#include "default_poller.h"
#include "posix_socket_ops.h"
#include "system_memory.h"

namespace odradek {
namespace {

class SteadyClock final : public Clock {
 public:
  int64_t now() override {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  }
};

class PosixThread final : public Thread {
 public:
  PosixThread(const char* name, void (*body)(void*), void* argument)
      : name_(name), body_(body), argument_(argument) {
    ::pthread_mutex_init(&mutex_, nullptr);
    ::pthread_cond_init(&runs_, nullptr);
  }
  ~PosixThread() override {
    if (is_started_) ::pthread_join(thread_, nullptr);
    ::pthread_cond_destroy(&runs_);
    ::pthread_mutex_destroy(&mutex_);
  }
  PosixThread(const PosixThread&) = delete;
  PosixThread& operator=(const PosixThread&) = delete;

  int start() {
    // Signals are the program's business: its own threads take them all.
    sigset_t all;
    sigset_t before;
    // A macro on some systems.
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = ::pthread_create(&thread_, nullptr, run, this);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (error != 0) return error;
    is_started_ = true;
    ::pthread_mutex_lock(&mutex_);
    while (!does_run_) ::pthread_cond_wait(&runs_, &mutex_);
    ::pthread_mutex_unlock(&mutex_);
    return 0;
  }

 private:
  static void* run(void* self) {
    auto* thread = static_cast<PosixThread*>(self);
#ifdef __APPLE__
    ::pthread_setname_np(thread->name_);
#else
    ::pthread_setname_np(::pthread_self(), thread->name_);
#endif
    ::pthread_mutex_lock(&thread->mutex_);
    thread->does_run_ = true;
    ::pthread_cond_signal(&thread->runs_);
    ::pthread_mutex_unlock(&thread->mutex_);
    thread->body_(thread->argument_);
    return nullptr;
  }

  // Valid until start() returns.
  const char* name_;
  void (*body_)(void*);
  void* argument_;
  pthread_t thread_{};
  bool is_started_ = false;
  pthread_mutex_t mutex_;
  pthread_cond_t runs_;
  bool does_run_ = false;
};

class PosixThreadStarter final : public ThreadStarter {
 public:
  std::unique_ptr<Thread> start(const char* name, void (*body)(void*), void* argument,
                                int* error) override {
    auto thread = std::make_unique<PosixThread>(name, body, argument);
    *error = thread->start();
    if (*error != 0) return nullptr;
    return thread;
  }
};

class SystemPlatform final : public Platform {
 public:
  std::unique_ptr<Poller> makePoller() override { return std::make_unique<DefaultPoller>(); }
  SocketOps& sockets() override { return sockets_; }
  Clock& clock() override { return clock_; }
  Memory& memory() override { return systemMemory(); }
  ThreadStarter& threads() override { return threads_; }

 private:
  PosixSocketOps sockets_;
  SteadyClock clock_;
  PosixThreadStarter threads_;
};

}  // namespace

Platform& systemPlatform() {
  alignas(SystemPlatform) static unsigned char storage[sizeof(SystemPlatform)];
  static auto* platform = new (storage) SystemPlatform();
  return *platform;
}

}  // namespace odradek
