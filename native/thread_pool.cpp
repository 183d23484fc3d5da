#include "thread_pool.h"

#include <atomic>
#include <exception>
#include <new>
#include <system_error>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace poolwise {

namespace {

// One parallel_for: chunks are handed out by a counter, so uneven chunks balance themselves. It is
// shared with the queue, because a task may come to the head of the queue after all its work has
// been done.
struct Loop {
    std::int64_t count, grain;
    const std::function<void(std::int64_t, std::int64_t)>* body;
    std::atomic<std::int64_t> next{0};

    std::mutex mutex;
    std::condition_variable idle;
    int running = 0;  // threads inside run(), other than the caller
    bool closed = false;
    std::exception_ptr error;

    void run() {
        for (;;) {
            const std::int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
            if (begin >= count) return;
            const std::int64_t end = begin + grain < count ? begin + grain : count;
            try {
                (*body)(begin, end);
            } catch (...) {
                const std::lock_guard<std::mutex> lock(mutex);
                if (!error) error = std::current_exception();
                next.store(count, std::memory_order_relaxed);  // the rest is not wanted any more
                return;
            }
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

    void wait_and_close() {
        std::unique_lock<std::mutex> lock(mutex);
        closed = true;
        idle.wait(lock, [this] { return running == 0; });
    }
};

}  // namespace

void ThreadPool::add(Task task, int wanted) {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        queue_.push_back(std::move(task));
        while (!leaving_ && static_cast<int>(workers_.size()) < wanted) {
            try {
                workers_.emplace_back([this] { work(); });
            } catch (const std::system_error&) {
                break;  // the system gives no more threads: those that run, and the caller, do the
                        // work
            }
        }
    }
    wake_.notify_one();
}

void ThreadPool::work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
        wake_.wait(lock, [this] { return leaving_ || !queue_.empty(); });
        if (queue_.empty()) return;  // only when leaving
        Task task = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        task();
        task = nullptr;
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
    const std::int64_t chunks = (count + grain - 1) / grain;
    const std::int64_t helpers = (chunks < threads ? chunks : threads) - 1;
    if (helpers <= 0) {
        body(0, count);
        return;
    }
    const auto loop = std::make_shared<Loop>();
    loop->count = count;
    loop->grain = grain;
    loop->body = &body;
    for (std::int64_t i = 0; i < helpers; ++i) add([loop] { loop->help(); }, threads - 1);
    loop->run();
    loop->wait_and_close();
    if (loop->error) std::rethrow_exception(loop->error);
}

void parallel_for(void (*team)(void (*)(void*), void*, unsigned, unsigned), std::int64_t count,
                  std::int64_t grain, int threads,
                  const std::function<void(std::int64_t, std::int64_t)>& body) {
    if (count <= 0) return;
    if (grain < 1) grain = 1;
    const std::int64_t chunks = (count + grain - 1) / grain;
    if (chunks == 1 || threads <= 1) {
        body(0, count);
        return;
    }
    Loop loop;
    loop.count = count;
    loop.grain = grain;
    loop.body = &body;
    const auto most = static_cast<std::int64_t>(threads);
    team([](void* shared) { static_cast<Loop*>(shared)->run(); }, &loop,
         static_cast<unsigned>(chunks < most ? chunks : most), 0);
    if (loop.error) std::rethrow_exception(loop.error);
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
