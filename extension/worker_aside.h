// The main thread's calls of the engine, made on a thread of their own.
//
// When a thread of RocksDB's has failed, a call that needs it, or what it has locked, never returns.  Only the main
// thread can end the process in order: it looks up while it waits.
#ifndef PG_SEMANTIC_EXTENSION_WORKER_ASIDE_H
#define PG_SEMANTIC_EXTENSION_WORKER_ASIDE_H

#include <atomic>
#include <functional>
#include <optional>
#include <thread>
#include <type_traits>

#include "encoder/blocked_signals.h"
#include "extension/futex.h"

namespace pg_semantic {

class Aside {
 public:
  // `end_if_broken` does not return when calls may never.  The thread has all signals blocked.
  explicit Aside(std::function<void()> end_if_broken) : end_if_broken_(std::move(end_if_broken)) {
    const encoder::BlockedSignals blocked;
    thread_ = std::thread([this] { run(); });
  }
  ~Aside() {
    call_ = nullptr;
    turn(kAsked);
    thread_.join();
  }
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;

  // Calls `work`, which may use the caller's variables: should it not return, nor does this.
  template <typename Work>
  auto operator()(const Work& work) {
    using Returned = std::invoke_result_t<Work>;
    if constexpr (std::is_void_v<Returned>) {
      call([](const void* given, void*) { (*static_cast<const Work*>(given))(); }, &work, nullptr);
    } else {
      std::optional<Returned> returned;
      call(
          [](const void* given, void* place) {
            static_cast<std::optional<Returned>*>(place)->emplace((*static_cast<const Work*>(given))());
          },
          &work, &returned);
      return std::move(*returned);
    }
  }

  void end_if_broken() const { end_if_broken_(); }

 private:
  static constexpr uint32_t kIdle = 0, kAsked = 1;
  static constexpr int kLookUpMilliseconds = 100;
  using Call = void (*)(const void* work, void* returned);

  void turn(uint32_t state) {
    state_.store(state);
    wake_sleepers(state_);
  }

  // Allocates nothing: memory may be what is missing.
  void call(Call call, const void* work, void* returned) {
    call_ = call;
    work_ = work;
    returned_ = returned;
    turn(kAsked);
    while (state_.load() == kAsked) {
      wait_while(state_, kAsked, kLookUpMilliseconds);
      if (state_.load() == kAsked) end_if_broken_();
    }
  }

  void run() {
    for (;;) {
      while (state_.load() == kIdle) wait_while(state_, kIdle, 1000);
      if (call_ == nullptr) return;
      call_(work_, returned_);
      turn(kIdle);
    }
  }

  const std::function<void()> end_if_broken_;
  std::atomic<uint32_t> state_{kIdle};
  // Whose turn it is has these.
  Call call_ = nullptr;
  const void* work_ = nullptr;
  void* returned_ = nullptr;
  std::thread thread_;
};

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_WORKER_ASIDE_H
