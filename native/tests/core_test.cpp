// The core alone, without Python, for sanitizer runs: every kernel over a grid of geometries,
// layouts and dtypes against plain loops, and the thread pool under the uses it promises to
// survive.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../caches.h"
#include "../core.h"
#include "../plan.h"
#include "../thread_pool.h"

using namespace poolwise;

namespace {

std::atomic<int> checks{0};

void expect(bool good, const std::string& what) {
    ++checks;
    if (good) return;
    std::fprintf(stderr, "FAILED: %s\n", what.c_str());
    std::exit(1);
}

struct Array {
    std::vector<char> bytes;
    std::vector<std::int64_t> shape, strides;
    std::int64_t item;

    // `order` lists the axes from outermost to innermost in memory.
    Array(std::vector<std::int64_t> of_shape, std::int64_t item_bytes, std::vector<int> order = {})
        : shape(std::move(of_shape)), strides(shape.size()), item(item_bytes) {
        if (order.empty())
            for (std::size_t d = 0; d < shape.size(); ++d) order.push_back(static_cast<int>(d));
        std::int64_t stride = item;
        for (std::size_t d = order.size(); d-- > 0;) {
            strides[order[d]] = stride;
            stride *= shape[order[d]];
        }
        bytes.resize(static_cast<std::size_t>(stride));
    }
    ArrayView view() {
        return {bytes.data(), static_cast<int>(shape.size()), shape.data(), strides.data()};
    }
    template <class T> T& at(const std::vector<std::int64_t>& i) {
        std::int64_t offset = 0;
        for (std::size_t d = 0; d < i.size(); ++d) offset += i[d] * strides[d];
        return *reinterpret_cast<T*>(bytes.data() + offset);
    }
    template <class Visit> void each(Visit&& visit) {
        std::vector<std::int64_t> i(shape.size(), 0);
        for (;;) {
            visit(i);
            std::size_t d = shape.size();
            while (d > 0 && ++i[d - 1] == shape[d - 1]) i[--d] = 0;
            if (d == 0) return;
        }
    }
};

Axis sliding(std::int64_t size, std::int64_t k, std::int64_t s, std::int64_t pad, std::int64_t d) {
    const std::int64_t span = (k - 1) * d + 1;
    return {size, (size + 2 * pad - span) / s + 1, k, s, d, pad, pad, {}, {}};
}

Axis adaptive(std::int64_t size, std::int64_t n) {
    Axis axis{size, n, 1, 1, 1, 0, 0, {}, {}};
    for (std::int64_t i = 0; i < n; ++i) {
        axis.starts.push_back(i * size / n);
        axis.stops.push_back(((i + 1) * size + n - 1) / n);
    }
    return axis;
}

bool reads(const Axis& a, std::int64_t window, std::int64_t cell) {
    if (!a.starts.empty()) return cell >= a.starts[window] && cell < a.stops[window];
    const std::int64_t from_start = cell - (window * a.stride - a.pad_before);
    return from_start >= 0 && from_start % a.dilation == 0 && from_start / a.dilation < a.kernel;
}

// The cells that each window reads, and the windows that read each cell.
using Lists = std::vector<std::vector<std::int64_t>>;
Lists cells_of(const Axis& a) {
    Lists lists(static_cast<std::size_t>(a.count));
    for (std::int64_t window = 0; window < a.count; ++window)
        for (std::int64_t cell = 0; cell < a.size; ++cell)
            if (reads(a, window, cell)) lists[window].push_back(cell);
    return lists;
}
Lists readers_of(const Axis& a) {
    Lists lists(static_cast<std::size_t>(a.size));
    for (std::int64_t cell = 0; cell < a.size; ++cell)
        for (std::int64_t window = 0; window < a.count; ++window)
            if (reads(a, window, cell)) lists[cell].push_back(window);
    return lists;
}

template <class T> Dtype dtype_of();
template <> Dtype dtype_of<float>() { return Dtype::float32; }
template <> Dtype dtype_of<double>() { return Dtype::float64; }
template <> Dtype dtype_of<std::uint8_t>() { return Dtype::uint8; }
template <> Dtype dtype_of<std::int16_t>() { return Dtype::int16; }
template <> Dtype dtype_of<std::int64_t>() { return Dtype::int64; }

// Winners told as taps: the same cells as the indices say, and the same gradient, which small
// windows get from a kernel of their own.
template <class T>
void check_taps(const Plan& plan, Array& x, Array& dy, Array& by_index, Array& index,
                const std::vector<int>& order, const int* axes, const std::string& name) {
    if (plan.form(0).cells() > 256) return;
    Array y(dy.shape, sizeof(T), order), tap(dy.shape, 1, order), dx(x.shape, sizeof(T), order);
    const ArrayView y_view = y.view(), tap_view = tap.view(), dy_view = dy.view();
    const ForwardJob job{&plan, x.view(), &y_view, &tap_view, axes};
    const ForwardKind kind{
        dtype_of<T>(), dtype_of<T>(), {ReducerKind::max, 2, true, 0}, WinnerForm::tap8};
    expect(pool_forward(&job, 1, kind) == Status::ok, "taps " + name);
    const WindowForm& form = plan.form(0);
    y.each([&](const auto& o) {
        const std::int64_t where = index.template at<std::int64_t>(o);
        if (where < 0) return;
        const std::int64_t t = tap.template at<std::uint8_t>(o);
        const std::int64_t h = form.first[1][o[1]] + t / form.taps[2] * form.dilation[1];
        const std::int64_t w = form.first[2][o[2]] + t % form.taps[2] * form.dilation[2];
        expect(h * form.size[2] + w == where, "tap " + name);
    });
    ScatterJob scatter{&plan, dx.view(), &dy_view, &tap_view, 1, axes, 2, true};
    expect(pool_scatter(scatter, dtype_of<T>(), WinnerForm::tap8) == Status::ok, "taps " + name);
    dx.each([&](const auto& i) {
        expect(dx.template at<T>(i) == by_index.template at<T>(i), "gradient by taps " + name);
    });
    if (form.cells() == 256) return;  // every number of eight bits is a tap
    tap.template at<std::uint8_t>({1, 0, 0, 2}) = static_cast<std::uint8_t>(form.cells());
    expect(pool_scatter(scatter, dtype_of<T>(), WinnerForm::tap8) == Status::bad_index,
           "bad tap " + name);
}

// x: (batch, rows, columns) or (batch, rows, columns, lanes), pooled over axes 1 and 2.
template <class T>
void check_case(const Axis& rows, const Axis& columns, bool lanes_inside, std::mt19937& random) {
    // Channels fewer than a register holds, or more; planes enough to be done several at once; and
    // outputs that are written past the caches.
    const bool small = columns.count < 40;
    const std::int64_t channels = small && random() % 2 ? 18 : 3;
    const std::vector<std::int64_t> shape = {2, rows.size, columns.size, channels};
    const std::vector<std::int64_t> out_shape = {2, rows.count, columns.count, channels};
    assume_last_cache(random() % 2 ? 1 : 0);
    const std::vector<int> order =
        lanes_inside ? std::vector<int>{0, 1, 2, 3} : std::vector<int>{0, 3, 1, 2};
    Array x(shape, sizeof(T), order), y(out_shape, sizeof(T), order), index(out_shape, 8, order);
    std::uniform_int_distribution<int> value(-9, 9);
    x.each([&](const auto& i) { x.template at<T>(i) = static_cast<T>(value(random)); });
    const auto plan = compile({{rows, columns}});
    const int axes[] = {1, 2};
    const ArrayView y_view = y.view(), index_view = index.view();
    const Lists in_rows = cells_of(rows), in_columns = cells_of(columns);
    const std::string name = std::to_string(rows.size) + "x" + std::to_string(columns.size);

    for (const bool indexed : {false, true}) {
        const ForwardJob job{plan.get(), x.view(), &y_view, indexed ? &index_view : nullptr, axes};
        const ForwardKind kind{dtype_of<T>(),
                               dtype_of<T>(),
                               {ReducerKind::max, 2, true, 0},
                               indexed ? WinnerForm::index64 : WinnerForm::none};
        expect(pool_forward(&job, 1, kind) == Status::ok, name);
        y.each([&](const auto& o) {
            bool seen = false;
            T best = 0;
            std::int64_t where = -1;
            for (const std::int64_t h : in_rows[o[1]])
                for (const std::int64_t w : in_columns[o[2]]) {
                    const T v = x.template at<T>({o[0], h, w, o[3]});
                    if (!seen || v > best) {
                        best = v;
                        where = h * columns.size + w;
                        seen = true;
                    }
                }
            if (seen) expect(y.template at<T>(o) == best, "max " + name);
            if (indexed) expect(index.template at<std::int64_t>(o) == where, "argmax " + name);
        });
    }
    using Total = std::conditional_t<std::is_floating_point_v<T>, T, std::int64_t>;
    const Dtype total_dtype = dtype_of<Total>();
    Array sums(out_shape, sizeof(Total), order);
    const ArrayView sums_view = sums.view();
    const ForwardJob job{plan.get(), x.view(), &sums_view, nullptr, axes};
    expect(pool_forward(&job, 1, {dtype_of<T>(), total_dtype, {ReducerKind::sum, 2, true, 0}}) ==
               Status::ok,
           name);
    sums.each([&](const auto& o) {
        Total total = 0;
        for (const std::int64_t h : in_rows[o[1]])
            for (const std::int64_t w : in_columns[o[2]])
                total += static_cast<Total>(x.template at<T>({o[0], h, w, o[3]}));
        expect(sums.template at<Total>(o) == total,
               "sum " + name);  // small integers: exact in any order
    });
    if constexpr (std::is_floating_point_v<T>) {
        Array dx(shape, sizeof(T), order);
        const Lists of_rows = readers_of(rows), of_columns = readers_of(columns);
        const BackwardJob back{plan.get(), dx.view(), &sums_view, axes, {}};
        expect(pool_backward(back, dtype_of<T>(), {ReducerKind::sum, 2, true, 0}) == Status::ok,
               name);
        dx.each([&](const auto& i) {
            double total = 0;
            for (const std::int64_t oh : of_rows[i[1]])
                for (const std::int64_t ow : of_columns[i[2]])
                    total += sums.template at<T>({i[0], oh, ow, i[3]});
            expect(dx.template at<T>(i) == static_cast<T>(total), "sum backward " + name);
        });
        const ScatterJob scatter{nullptr, dx.view(), &sums_view, &index_view, 1, axes, 2, true};
        expect(pool_scatter(scatter, dtype_of<T>(), WinnerForm::index64) == Status::ok, name);
        check_taps<T>(*plan, x, sums, dx, index, order, axes, name);
        index.template at<std::int64_t>({1, 0, 0, 2}) = rows.size * columns.size;
        expect(pool_scatter(scatter, dtype_of<T>(), WinnerForm::index64) == Status::bad_index,
               "bad index " + name);
        const ArrayView norms = y.view();
        const ForwardJob lp{plan.get(), x.view(), &norms, nullptr, axes};
        expect(
            pool_forward(&lp, 1, {dtype_of<T>(), dtype_of<T>(), {ReducerKind::lp, 3, true, 0}}) ==
                Status::ok,
            name);
        const BackwardJob lp_back{plan.get(), dx.view(), &norms, axes, x.view()};
        expect(pool_backward(lp_back, dtype_of<T>(), {ReducerKind::lp, 3, true, 0}) == Status::ok,
               name);
    }
}

// x: (2, depth, rows, columns), dense, pooled over the last three axes.
template <class T>
void check_volume(const Axis& depth, const Axis& rows, const Axis& columns, std::mt19937& random) {
    assume_last_cache(random() % 2 ? 1 : 0);
    Array x({2, depth.size, rows.size, columns.size}, sizeof(T));
    Array most({2, depth.count, rows.count, columns.count}, sizeof(T)), sums(most);
    std::uniform_int_distribution<int> value(-9, 9);
    x.each([&](const auto& i) { x.template at<T>(i) = static_cast<T>(value(random)); });
    const auto plan = compile({{depth, rows, columns}});
    const int axes[] = {1, 2, 3};
    const ArrayView most_view = most.view(), sums_view = sums.view();
    const ForwardJob max{plan.get(), x.view(), &most_view, nullptr, axes},
        sum{plan.get(), x.view(), &sums_view, nullptr, axes};
    const Dtype dtype = dtype_of<T>();
    expect(pool_forward(&max, 1, {dtype, dtype, {ReducerKind::max, 2, true, 0}}) == Status::ok,
           "volume");
    expect(pool_forward(&sum, 1, {dtype, dtype, {ReducerKind::sum, 2, true, 0}}) == Status::ok,
           "volume");
    const Lists in_depth = cells_of(depth), in_rows = cells_of(rows),
                in_columns = cells_of(columns);
    most.each([&](const auto& o) {
        T best = static_cast<T>(-99), total = 0;
        for (const std::int64_t d : in_depth[o[1]])
            for (const std::int64_t h : in_rows[o[2]])
                for (const std::int64_t w : in_columns[o[3]]) {
                    const T v = x.template at<T>({o[0], d, h, w});
                    best = std::max(best, v);
                    total += v;
                }
        expect(most.template at<T>(o) == best, "max of a volume");
        expect(sums.template at<T>(o) == total, "sum of a volume");
    });
}

void check_volumes() {
    std::mt19937 random(9);
    for (const std::int64_t width : {11, 24, 26, 33, 64})
        for (const std::int64_t k : {1, 2, 3, 5})
            for (const std::int64_t s : {1, 2, 3}) {
                const Axis rows = sliding(7, 3, s, 1, 1), columns = sliding(width, k, s, k / 2, 1);
                check_volume<float>(sliding(6, k, 1, k / 2, 1), rows, columns, random);
                check_volume<float>(sliding(40, 2, 2, 0, 1), rows, columns, random);
                check_volume<double>(sliding(5, 3, s, 1, 1), rows, columns, random);
            }
}

void check_kernels() {
    std::mt19937 random(7);
    for (const std::int64_t size : {1, 2, 7, 16, 33})
        for (const std::int64_t k : {1, 2, 3, 5, 6, 13, 31})
            for (const std::int64_t s : {1, 2, 3, 5})
                for (const std::int64_t d : {1, 2}) {
                    const std::int64_t pad = k / 2;
                    if (size + 2 * pad < (k - 1) * d + 1) continue;
                    const Axis rows = sliding(size, k, s, pad, d),
                               columns = sliding(size + 3, k, s, pad, d);
                    check_case<float>(rows, columns, s % 2 == 0, random);
                    check_case<float>(rows, columns, s % 2 == 1, random);
                    if (s == 1) check_case<std::uint8_t>(rows, columns, true, random);
                    if (s == 2) check_case<double>(rows, columns, false, random);
                    if (s == 3) check_case<std::int16_t>(rows, columns, d == 1, random);
                    if (s == 5) check_case<std::int64_t>(rows, columns, d == 1, random);
                }
    for (const std::int64_t k : {3, 5, 31})  // rows in tiles
        for (const bool lanes : {false, true})
            check_case<float>(sliding(6, 3, 1, 1, 1), sliding(2100, k, 1, k / 2, 1), lanes, random);
    for (const std::int64_t size : {1, 5, 14, 40, 270})
        for (const std::int64_t n : {1, 3, 7})
            for (const bool lanes : {false, true}) {
                check_case<float>(adaptive(size, n), adaptive(size + 1, n), lanes, random);
                check_case<std::int16_t>(adaptive(size, n), adaptive(size + 1, n), lanes, random);
            }
}

void check_pool() {
    ThreadPool pool;
    for (int round = 0; round < 200; ++round) {
        std::vector<int> done(round + 1, 0);
        pool.parallel_for(round + 1, 1, 4, [&](std::int64_t a, std::int64_t b) {
            for (std::int64_t i = a; i < b; ++i) ++done[i];
        });
        for (const int d : done) expect(d == 1, "each index exactly once");
    }
    bool caught = false;
    try {
        pool.parallel_for(1000, 1, 4, [](std::int64_t a, std::int64_t) {
            if (a == 500) throw std::runtime_error("from a worker");
        });
    } catch (const std::runtime_error& error) {
        caught = std::string(error.what()) == "from a worker";
    }
    expect(caught, "an exception reaches the caller");

    std::vector<std::thread> callers;
    std::atomic<std::int64_t> total{0};
    for (int t = 0; t < 8; ++t)
        callers.emplace_back([&] {
            for (int round = 0; round < 50; ++round)
                pool.parallel_for(64, 1, 3,
                                  [&](std::int64_t a, std::int64_t b) { total += b - a; });
        });
    for (std::thread& caller : callers) caller.join();
    expect(total == 8 * 50 * 64, "many callers at once");

    std::atomic<int> ran{0};
    for (int i = 0; i < 100; ++i) pool.add([&] { ++ran; }, 3);
    pool.shutdown();
    expect(ran == 100, "shutdown finishes what is queued");
    expect(pool.worker_count() == 0, "shutdown joins the workers");
    pool.parallel_for(10, 1, 2, [&](std::int64_t, std::int64_t) { ++ran; });
    expect(pool.worker_count() == 1, "a pool may be used again");
}

void check_threads_and_fork() {
    set_num_threads(4);
    std::mt19937 random(11);
    const Axis big = sliding(90, 9, 1, 4, 1);
    check_case<float>(big, big, false, random);
    std::vector<std::thread> callers;
    for (int t = 0; t < 4; ++t)
        callers.emplace_back([t, &big] {
            std::mt19937 own(t);
            check_case<float>(big, big, t % 2 == 0, own);
        });
    for (std::thread& caller : callers) caller.join();
#if !defined(__SANITIZE_THREAD__)  // TSan does not follow a fork with threads
    const pid_t child = fork();
    if (child == 0) {
        std::mt19937 own(3);
        check_case<float>(big, big, true, own);
        process_pool().shutdown();
        _exit(0);
    }
    int status = 1;
    waitpid(child, &status, 0);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "pooling goes on in a forked child");
#endif
    process_pool().shutdown();
}

}  // namespace

int main() {
    check_pool();
    check_kernels();
    check_volumes();
    check_threads_and_fork();
    std::printf("core_test: %d checks passed, kernels %s, last run %s\n", checks.load(),
                chosen_isa(), last_run_isa());
    expect(std::strcmp(chosen_isa(), last_run_isa()) == 0, "the chosen kernels ran");
    return 0;
}
