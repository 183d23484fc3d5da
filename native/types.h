// The few names that the core's face and its kernels share; no standard library beyond integers.
#pragma once

#include <cstdint>

namespace poolwise {

enum class Dtype : std::uint8_t {
    float16,
    bfloat16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
    boolean,
};
inline constexpr int dtype_count = 13;

enum class ReducerKind : std::uint8_t { max, min, sum, mean, lp };

// How a winner is told: by its tap within the window (at most 256 cells), or by its flat index over
// the pooled axes.
enum class WinnerForm : std::uint8_t { none, tap8, index32, index64 };

enum class Status : std::uint8_t { ok, out_of_memory, bad_argument, bad_index };

inline constexpr int max_rank = 64;        // NumPy's own limit
inline constexpr int max_pooled_axes = 3;  // more axes are the caller's to compose

}  // namespace poolwise
