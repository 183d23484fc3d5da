// The whole public face of the core: what a caller must say to pool an array.
//
// The core knows nothing of Python, allocates no results and throws nothing across this face. It
// accepts one normal form: typed strided views whose pooled axes are named, and a Plan compiled
// once from the geometry. Every message for people is made above it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "types.h"

namespace poolwise {

// One pooled axis. A sliding axis is its formula: window i reads i*stride - pad_before + t*dilation
// for t in [0, kernel), where that lies inside [0, size). Any other axis lists its windows [start,
// stop), clipped to the input, both ascending; then kernel, stride and dilation are 1 and the pads
// 0.
struct Axis {
    std::int64_t size, count;
    std::int64_t kernel, stride, dilation;
    std::int64_t pad_before, pad_after;
    std::vector<std::int64_t> starts, stops;  // empty for a sliding axis
};

// A grid is a product of one to three axes; a pyramid is several grids over one input.
using Grid = std::vector<Axis>;

class Plan;  // geometry, compiled: see plan.h
std::shared_ptr<const Plan> compile(std::vector<Grid> grids);

struct ArrayView {
    char* data = nullptr;
    int rank = 0;
    const std::int64_t* shape = nullptr;
    const std::int64_t* strides = nullptr;  // bytes
};

struct Reducer {
    ReducerKind kind = ReducerKind::max;
    double p = 2.0;                 // lp only; infinity allowed
    bool count_include_pad = true;  // mean only
    std::int64_t divisor = 0;       // mean only; 0: the window's own
};

// One map or batch of maps. `y` and `winners` have one view per grid, of x's rank, with the pooled
// axes replaced by the grid's counts; `winners` is null when none are asked for.
struct ForwardJob {
    const Plan* plan = nullptr;
    ArrayView x;
    const ArrayView* y = nullptr;
    const ArrayView* winners = nullptr;
    const int* axes = nullptr;  // ascending, one per axis of the plan
};

// What all jobs of a call share.
struct ForwardKind {
    Dtype x_dtype, y_dtype;
    Reducer reducer;
    WinnerForm winners = WinnerForm::none;
};

// The work of all jobs is balanced over the thread pool together.
Status pool_forward(const ForwardJob* jobs, std::size_t job_count, const ForwardKind& kind);

// One job with everything known but the addresses: checked and cut up once, then run any number of
// times, by any number of threads at once. Views of `job` tell shapes and strides; their `data` is
// an offset from the address given to `run`.
class PreparedForward {
  public:
    PreparedForward(const ForwardJob& job, const ForwardKind& kind);  // may throw bad_alloc
    ~PreparedForward();
    PreparedForward(const PreparedForward&) = delete;
    PreparedForward& operator=(const PreparedForward&) = delete;
    Status status() const { return status_; }  // anything but ok: it cannot be run
    Status run(const char* x, char* y, char* winners) const;

  private:
    class Forward* work_;
    Status status_;
};

// Gradient of sum, mean and lp: writes all of dx. `x` is read by lp alone.
struct BackwardJob {
    const Plan* plan = nullptr;
    ArrayView dx;
    const ArrayView* dy = nullptr;  // one per grid
    const int* axes = nullptr;
    ArrayView x;
};
Status pool_backward(const BackwardJob& job, Dtype dtype, const Reducer& reducer);

// Winners' gradients: dx[winner] += dy (accumulate; index -1 is a window without a winner), or,
// with no plan needed, unpooling: dx[index] = dy, where the last one wins. Writes all of dx. Any
// other winner outside the plane is a bad_index: nothing is written for it. Taps need the plan.
struct ScatterJob {
    const Plan* plan = nullptr;
    ArrayView dx;
    const ArrayView* dy = nullptr;
    const ArrayView* winners = nullptr;
    int grid_count = 0;
    const int* axes = nullptr;
    int axis_count = 0;
    bool accumulate = true;
};
Status pool_scatter(const ScatterJob& job, Dtype dtype, WinnerForm form);

// Threads, and which instruction set the kernels were chosen for.
void set_num_threads(int count);
int get_num_threads();
int usable_cpus();  // those this process may run on

// Somebody else's threads: runs body(data) on `threads` of them at once, the calling one among
// them, and returns when all have. (The signature of OpenMP's GOMP_parallel, flags 0.)
using Team = void (*)(void (*body)(void*), void* data, unsigned threads, unsigned flags);

// Lends the core a team, or takes it back (null). A forked child does not have it: its parent's
// threads do not exist there.
void lend_team(Team team);

// For as long as it lives, calls of this thread use `count` threads instead (0 changes nothing), of
// the team that was lent, if any, rather than of our own pool. Two sets of threads on the same
// cores, one of which spins while it waits, cost more than most poolings.
class ThreadLimit {
  public:
    ThreadLimit(int count, bool of_team);
    ~ThreadLimit();
    ThreadLimit(const ThreadLimit&) = delete;
    ThreadLimit& operator=(const ThreadLimit&) = delete;

  private:
    int count_before_;
    bool team_before_;
};
Team current_team();                        // null: the pool's threads
const char* chosen_isa();                   // what dispatch selected
const char* last_run_isa();                 // what the last kernel was really compiled for
std::vector<const char*> available_isas();  // on this machine, slowest first

}  // namespace poolwise
