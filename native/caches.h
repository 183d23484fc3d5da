// What the kernels have to know of this machine's caches.
#pragma once

#include <cstdint>

namespace poolwise {

// Whether arrays of so many bytes together outgrow the last cache: nobody would find the output
// there, so it may as well be written past it.
bool past_caches(std::int64_t bytes);

// Decides as on a machine with such a last cache, so that tests need no large arrays; 0: this
// machine's own.
void assume_last_cache(std::int64_t bytes);

}  // namespace poolwise
