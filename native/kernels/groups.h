// How the kernels of small windows walk through their work: a unit is a run of plane groups with
// one lane block, one tile and one band; scratch is laid out once for all groups of a width.
#pragma once

#include "operations.h"
#include "place.h"

namespace poolwise::POOLWISE_ISA {
namespace {

// Sixteen planes are read side by side, in short runs that no hardware prefetcher follows: what
// comes next is asked for, into the second cache. A hint may lie anywhere.
template <int Write> inline void ask_for(const char* at, std::int64_t bytes) {
    for (std::int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(at + b, Write, 2);
}

// visit(plane, d, h) for every row of outputs of a unit that has no lane blocks and no tiles.
template <class Visit>
void each_output_row(const DirectJob& job, std::int64_t unit, Visit&& visit) {
    const std::int64_t plane = unit / job.bands * job.groups_per_unit,
                       row = unit % job.bands * job.band;
    for (std::int64_t p = plane; p < smaller(plane + job.groups_per_unit, job.groups); ++p)
        for (std::int64_t d = 0; d < job.form->count[0]; ++d)
            for (std::int64_t h = row; h < smaller(row + job.band, job.form->count[1]); ++h)
                visit(p, d, h);
}

// `Unit` derives from this and has locate(place, group), take_scratch(beside), fill_scratch() and
// make_group().
template <class Unit, class Job> class GroupedUnit {
  public:
    void run() {
        Unit& self = static_cast<Unit&>(*this);
        const std::int64_t first = unit_ * job_.groups_per_unit,
                           last = smaller(first + job_.groups_per_unit, job_.groups);
        const Arena mark = arena_;
        std::int64_t prepared = 0;
        self.locate(next_, first);
        for (std::int64_t group = first; group < last; ++group) {
            place_ = next_;
            // The group after this one, though it may be another unit's, is asked for row by row.
            if (group + 1 < job_.groups) self.locate(next_, group + 1);
            if (place_.lanes != prepared) {
                arena_ = mark;
                prepared = place_.lanes;
                self.take_scratch(prepared);
                self.fill_scratch();
            }
            self.make_group();
        }
    }

    // What take_scratch takes at most: the last block of lanes may be a single one.
    static std::int64_t scratch_bytes(const Job& job) {
        std::int64_t most = 0;
        const std::int64_t candidates[2] = {1, job.lane_block};
        for (const std::int64_t lanes : candidates) {
            char* const base = reinterpret_cast<char*>(64);
            Unit unit(job, 0, base);
            unit.take_scratch(lanes);
            most = larger<std::int64_t>(most, unit.arena_.next - base);
        }
        return most;
    }

  protected:
    GroupedUnit(const Job& job, std::int64_t unit, std::int64_t tiles, char* scratch)
        : job_(job), f_(*job.form), arena_{scratch} {
        band_ = unit % job.bands;
        unit /= job.bands;
        tile_ = unit % tiles;
        unit /= tiles;
        block_ = unit % job.lane_blocks;
        unit_ = unit / job.lane_blocks;
    }

    const Job& job_;
    const WindowForm& f_;
    Arena arena_;
    Place place_, next_;
    std::int64_t band_, tile_, block_, unit_;
};

}  // namespace
}  // namespace poolwise::POOLWISE_ISA
