#include "dispatch.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "core.h"

namespace poolwise {

namespace baseline {
void fill_table(KernelTable& table);
}
#ifdef POOLWISE_X86_LEVELS
namespace avx2 {
void fill_table(KernelTable& table);
}
namespace avx512 {
void fill_table(KernelTable& table);
}
#endif

namespace {

struct Level {
    const char* name;
    void (*fill)(KernelTable&);
    bool (*supported)();
};

const Level levels[] = {
    // slowest first
    {"baseline", baseline::fill_table, [] { return true; }},
#ifdef POOLWISE_X86_LEVELS
    {"avx2", avx2::fill_table,
     [] {
         return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
     }},
    {"avx512", avx512::fill_table,
     [] {
         return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("bmi2");
     }},
#endif
};

// A POOLWISE_ISA that this machine or build cannot run falls back to the best level that it can;
// what was chosen is always reported by chosen_isa().
KernelTable choose() {
    const char* asked = std::getenv("POOLWISE_ISA");
    const Level* chosen = &levels[0];
    for (const Level& level : levels) {
        if (!level.supported()) continue;
        chosen = &level;
        if (asked && std::strcmp(asked, level.name) == 0) break;
    }
    KernelTable table;
    chosen->fill(table);
    return table;
}

std::atomic<const char*> last_run{""};

}  // namespace

const KernelTable& kernels() {
    static const KernelTable table = choose();
    return table;
}

void note_run(const KernelTable& table) { last_run.store(table.isa, std::memory_order_relaxed); }

const char* chosen_isa() { return kernels().isa; }
const char* last_run_isa() { return last_run.load(std::memory_order_relaxed); }

std::vector<const char*> available_isas() {
    std::vector<const char*> names;
    for (const Level& level : levels)
        if (level.supported()) names.push_back(level.name);
    return names;
}

}  // namespace poolwise
