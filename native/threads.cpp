// How many threads a call may use: set_num_threads, POOLWISE_NUM_THREADS, or the CPUs this process
// may use.
#include <atomic>
#include <cstdlib>
#include <thread>

#include "core.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace poolwise {

int usable_cpus() {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    const int cpus = static_cast<int>(std::thread::hardware_concurrency());
    return cpus > 0 ? cpus : 1;
}

namespace {

constexpr int most_threads = 1024;

int initial_threads() {
    if (const char* text = std::getenv("POOLWISE_NUM_THREADS")) {
        char* end = nullptr;
        const long value = std::strtol(text, &end, 10);
        if (end != text && *end == '\0' && value >= 1)
            return static_cast<int>(value < most_threads ? value : most_threads);
    }
    return usable_cpus();
}

std::atomic<int>& threads() {
    static std::atomic<int> count{initial_threads()};
    return count;
}

thread_local int limit = 0;
thread_local bool of_lent_team = false;
std::atomic<Team> lent_team{nullptr};

}  // namespace

void lend_team(Team team) {
#if defined(__unix__) || defined(__APPLE__)
    static const int registered =
        pthread_atfork(nullptr, nullptr, [] { lent_team.store(nullptr); });
    (void)registered;
#endif
    lent_team.store(team);
}
Team current_team() { return of_lent_team ? lent_team.load(std::memory_order_relaxed) : nullptr; }

ThreadLimit::ThreadLimit(int count, bool of_team)
    : count_before_(limit), team_before_(of_lent_team) {
    if (count > 0) limit = count < most_threads ? count : most_threads;
    of_lent_team = of_team;
}
ThreadLimit::~ThreadLimit() {
    limit = count_before_;
    of_lent_team = team_before_;
}

void set_num_threads(int count) {
    threads().store(count < 1 ? 1 : count > most_threads ? most_threads : count);
}
int get_num_threads() { return limit > 0 ? limit : threads().load(std::memory_order_relaxed); }

}  // namespace poolwise
