// The task queue and its workers: what runs all pooling work (row 7 of the mission).
//
// Workers wait while the queue is empty; adding a task signals one; a worker takes the task at the
// head and runs it; workers leave cleanly at shutdown. `parallel_for` is the only customer: the
// calling thread always works too, so a call finishes even when every worker is busy with somebody
// else's.
//
// Waking a thread that sleeps takes longer than pooling a small map. So a worker looks for more
// work for a while before it sleeps, and so does a caller for the last of its helpers: for
// `patience`, and only where there are no more workers than CPUs beside the caller's.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace poolwise {

class ThreadPool {
  public:
    using Task = std::function<void()>;

    ThreadPool() = default;
    ~ThreadPool() { shutdown(); }
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    // Appends a task and wakes one worker; starts workers up to `wanted` on the way.
    void add(Task task, int wanted);

    // Lets the workers finish what is queued, then joins them. The pool may be used again
    // afterwards.
    void shutdown();

    int worker_count();

    // Runs body(begin, end) over [0, count) in chunks of `grain`, on at most `threads` threads
    // including this one. Returns when all of it is done. The first exception of any chunk is
    // thrown here.
    void parallel_for(std::int64_t count, std::int64_t grain, int threads,
                      const std::function<void(std::int64_t, std::int64_t)>& body);

  private:
    void work();
    void look_for_work() const;

    std::mutex ending_;  // one shutdown at a time: `leaving_` must stay until its workers are gone
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<Task> queue_;
    std::atomic<std::size_t> queued_{0};  // what is in the queue, for those who do not hold it
    std::atomic<bool> patient_{true};
    std::vector<std::thread> workers_;
    bool leaving_ = false;
};

// The same on a team of threads that somebody else lent.
void parallel_for(void (*team)(void (*)(void*), void*, unsigned, unsigned), std::int64_t count,
                  std::int64_t grain, int threads,
                  const std::function<void(std::int64_t, std::int64_t)>& body);

// The process's pool. A forked child gets a fresh one: its parent's threads do not exist there.
ThreadPool& process_pool();

}  // namespace poolwise
