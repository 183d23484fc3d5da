#include "run.h"

#include <algorithm>
#include <new>

#include "core.h"
#include "dispatch.h"
#include "thread_pool.h"

namespace poolwise {

namespace {

// Scratch of one thread, kept between calls so that small calls do not pay for it again.
class Scratch {
  public:
    ~Scratch() { release(); }
    char* at_least(std::int64_t bytes) {
        if (bytes > size_ || (exactly && bytes != size_)) {
            release();
            data_ = static_cast<char*>(
                ::operator new(static_cast<std::size_t>(bytes), std::align_val_t(64)));
            size_ = bytes;
        }
        return data_;
    }
    void trim() {
        if (size_ > kept_bytes) release();
    }

  private:
    static constexpr std::int64_t kept_bytes = 4 << 20;
    // Room that an earlier unit needed would hide from a sanitizer that this one oversteps its own.
#if defined(__SANITIZE_ADDRESS__)
    static constexpr bool exactly = true;
#else
    static constexpr bool exactly = false;
#endif

    void release() {
        if (data_) ::operator delete(data_, std::align_val_t(64));
        data_ = nullptr;
        size_ = 0;
    }

    char* data_ = nullptr;
    std::int64_t size_ = 0;
};

thread_local Scratch thread_scratch;

// What a small call does: no queue, no lists.
Status run_alone(const Batch& batch) {
    try {
        char* const scratch = thread_scratch.at_least(batch.scratch_bytes);
        for (std::int64_t u = 0; u < batch.units; ++u) batch.run(u, scratch);
        thread_scratch.trim();
    } catch (const std::bad_alloc&) {
        return Status::out_of_memory;
    }
    note_run(kernels());
    return Status::ok;
}

}  // namespace

Status run_batches(const std::vector<Batch>& batches, std::int64_t bytes) {
    const int threads = bytes < inline_bytes ? 1 : get_num_threads();
    if (threads == 1 && batches.size() == 1) return run_alone(batches[0]);
    std::vector<std::int64_t> ends;
    std::int64_t units = 0;
    for (const Batch& batch : batches) ends.push_back(units += batch.units);
    const double bytes_per_unit =
        static_cast<double>(std::max<std::int64_t>(1, bytes)) / std::max<std::int64_t>(1, units);
    const auto worthwhile = static_cast<std::int64_t>(inline_bytes / 2 / bytes_per_unit);
    const std::int64_t grain =
        threads == 1 ? units
                     : std::max<std::int64_t>(1, std::min(units / (8 * threads), worthwhile));
    const auto run = [&](std::int64_t from, std::int64_t to) {
        for (std::int64_t u = from; u < to; ++u) {
            const auto b = static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), u) -
                                                    ends.begin());
            const Batch& batch = batches[b];
            batch.run(u - (ends[b] - batch.units), thread_scratch.at_least(batch.scratch_bytes));
        }
        thread_scratch.trim();
    };
    try {
        if (Team team = current_team())
            parallel_for(team, units, grain, threads, run);
        else
            process_pool().parallel_for(units, grain, threads, run);
    } catch (const std::bad_alloc&) {
        return Status::out_of_memory;
    }
    note_run(kernels());
    return Status::ok;
}

}  // namespace poolwise
