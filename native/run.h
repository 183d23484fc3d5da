// Units of work, run over the thread pool.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "types.h"

namespace poolwise {

// Less than this is done by the calling thread alone: waking another costs more than it saves.
inline constexpr std::int64_t inline_bytes = 128 << 10;

struct Batch {
    std::function<void(std::int64_t unit, char* scratch)> run;
    std::int64_t units = 0, scratch_bytes = 0;
};

// Runs every unit of every batch, balanced together; `bytes` is about how much memory they move.
Status run_batches(const std::vector<Batch>& batches, std::int64_t bytes);

}  // namespace poolwise
