#include "thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <new>
#include <system_error>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core.h"

namespace poolwise {

namespace {

// Longer than it takes to wake a thread, and shorter than anybody would notice.
constexpr std::chrono::microseconds patience{50};

// True as soon as `done` is; false where it was not for `patience`. Whoever else wants this CPU,
// maybe the very thread that is waited for, gets it.
template <class Done> bool came_true(const Done& done) {
    const auto until = std::chrono::steady_clock::now() + patience;
    do {
        for (int look = 0; look < 32; ++look) {
            if (done()) return true;
#if defined(__x86_64__)
            _mm_pause();
#elif defined(__aarch64__)
            __asm__ __volatile__("isb");
#endif
        }
        std::this_thread::yield();
    } while (std::chrono::steady_clock::now() < until);
    return false;
}

// One parallel_for. Every thread has a share of its own, in one piece, so that the next call over
// the same arrays finds each share where the last one left it; who is done helps with what others
// have left. It is shared with the queue, because a task may come to the head of the queue after
// all its work has been done.
struct Loop {
    struct alignas(64) Share {
        std::atomic<std::int64_t> next{0};
        std::int64_t end = 0;
    };

    Loop(std::int64_t count, std::int64_t grain_, int threads,
         const std::function<void(std::int64_t, std::int64_t)>& body_)
        : grain(grain_), body(&body_), share_count(threads), shares(new Share[share_count]) {
        const std::int64_t chunks = (count + grain - 1) / grain;
        for (int s = 0; s < share_count; ++s) {
            const auto edge = [&](std::int64_t i) {
                return std::min(count, chunks * i / share_count * grain);
            };
            shares[s].next.store(edge(s), std::memory_order_relaxed);
            shares[s].end = edge(s + 1);
        }
    }

    std::int64_t grain;
    const std::function<void(std::int64_t, std::int64_t)>* body;
    int share_count;
    std::unique_ptr<Share[]> shares;
    std::atomic<int> arrived{0};

    std::mutex mutex;
    std::condition_variable idle;
    std::atomic<int> running{0};  // threads inside run(), other than the caller
    bool closed = false;
    std::exception_ptr error;

    void run() {
        const int mine = arrived.fetch_add(1, std::memory_order_relaxed);
        try {
            for (int s = 0; s < share_count; ++s) take(shares[(mine + s) % share_count]);
        } catch (...) {
            const std::lock_guard<std::mutex> lock(mutex);
            if (!error) error = std::current_exception();
            for (int s = 0; s < share_count; ++s)  // the rest is not wanted any more
                shares[s].next.store(shares[s].end, std::memory_order_relaxed);
        }
    }
    void take(Share& share) const {
        for (;;) {
            const std::int64_t begin = share.next.fetch_add(grain, std::memory_order_relaxed);
            if (begin >= share.end) return;
            (*body)(begin, std::min(begin + grain, share.end));
        }
    }

    void help() {
        {
            const std::lock_guard<std::mutex> lock(mutex);
            if (closed) return;
            ++running;
        }
        run();
        const std::lock_guard<std::mutex> lock(mutex);
        if (--running == 0) idle.notify_all();
    }

    // (taken out: a worker may be the last to let go of the loop)
    void rethrow() {
        const std::exception_ptr thrown = std::move(error);
        error = nullptr;
        if (thrown) std::rethrow_exception(thrown);
    }

    void wait_and_close(bool patient) {
        std::unique_lock<std::mutex> lock(mutex);
        closed = true;
        if (running == 0) return;
        if (patient) {
            lock.unlock();
            came_true([this] { return running.load(std::memory_order_relaxed) == 0; });
            lock.lock();
        }
        idle.wait(lock, [this] { return running == 0; });
    }
};

int busy_threads(std::int64_t count, std::int64_t grain, int threads) {
    return static_cast<int>(std::min<std::int64_t>((count + grain - 1) / grain, threads));
}

}  // namespace

void ThreadPool::add(Task task, int wanted) {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        queue_.push_back(std::move(task));
        queued_.store(queue_.size(), std::memory_order_relaxed);
        while (!leaving_ && static_cast<int>(workers_.size()) < wanted) {
            try {
                workers_.emplace_back([this] { work(); });
                patient_.store(static_cast<int>(workers_.size()) < usable_cpus(),
                               std::memory_order_relaxed);
            } catch (const std::system_error&) {
                break;  // the system gives no more threads: those that run, and the caller, do the
                        // work
            }
        }
    }
    wake_.notify_one();
}

void ThreadPool::look_for_work() const {
    if (patient_.load(std::memory_order_relaxed))
        came_true([this] { return queued_.load(std::memory_order_relaxed) != 0; });
}

void ThreadPool::work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
        wake_.wait(lock, [this] { return leaving_ || !queue_.empty(); });
        if (queue_.empty()) return;  // only when leaving
        Task task = std::move(queue_.front());
        queue_.pop_front();
        queued_.store(queue_.size(), std::memory_order_relaxed);
        lock.unlock();
        task();
        task = nullptr;
        look_for_work();
        lock.lock();
    }
}

void ThreadPool::shutdown() {
    const std::lock_guard<std::mutex> alone(ending_);
    std::vector<std::thread> leaving;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        leaving_ = true;
        leaving.swap(workers_);
    }
    wake_.notify_all();
    for (std::thread& worker : leaving) worker.join();
    const std::lock_guard<std::mutex> lock(mutex_);
    leaving_ = false;
}

int ThreadPool::worker_count() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return static_cast<int>(workers_.size());
}

void ThreadPool::parallel_for(std::int64_t count, std::int64_t grain, int threads,
                              const std::function<void(std::int64_t, std::int64_t)>& body) {
    if (count <= 0) return;
    if (grain < 1) grain = 1;
    const int busy = busy_threads(count, grain, threads);
    if (busy <= 1) {
        body(0, count);
        return;
    }
    const auto loop = std::make_shared<Loop>(count, grain, busy, body);
    for (int helper = 1; helper < busy; ++helper) add([loop] { loop->help(); }, threads - 1);
    loop->run();
    loop->wait_and_close(patient_.load(std::memory_order_relaxed));
    loop->rethrow();
}

void parallel_for(void (*team)(void (*)(void*), void*, unsigned, unsigned), std::int64_t count,
                  std::int64_t grain, int threads,
                  const std::function<void(std::int64_t, std::int64_t)>& body) {
    if (count <= 0) return;
    if (grain < 1) grain = 1;
    const int busy = busy_threads(count, grain, threads);
    if (busy <= 1) {
        body(0, count);
        return;
    }
    Loop loop(count, grain, busy, body);
    team([](void* shared) { static_cast<Loop*>(shared)->run(); }, &loop,
         static_cast<unsigned>(busy), 0);
    loop.rethrow();
}

namespace {

// Never destroyed while threads may use it; ended by shutdown() from whoever loaded the core.
std::atomic<ThreadPool*> the_pool{nullptr};
std::mutex pool_mutex;

#if defined(__unix__) || defined(__APPLE__)
void before_fork() { pool_mutex.lock(); }
void after_fork_in_parent() { pool_mutex.unlock(); }
void after_fork_in_child() {
    // The old pool's threads are gone and its locks may be held for ever: leave it be, start anew.
    the_pool.store(nullptr);
    pool_mutex.unlock();
}
#endif

}  // namespace

ThreadPool& process_pool() {
    ThreadPool* pool = the_pool.load(std::memory_order_acquire);
    if (pool) return *pool;
    const std::lock_guard<std::mutex> lock(pool_mutex);
    pool = the_pool.load(std::memory_order_relaxed);
    if (!pool) {
#if defined(__unix__) || defined(__APPLE__)
        static const int registered =
            pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
        (void)registered;
#endif
        pool = new ThreadPool;
        the_pool.store(pool, std::memory_order_release);
    }
    return *pool;
}

}  // namespace poolwise
