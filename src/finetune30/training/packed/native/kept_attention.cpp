// Attention of a row's new tokens to all of its tokens, whose keys and values are kept from one call to the next.

#include "looking_back.h"

namespace {

// Where the keys and values of rows are kept, (rows, room, groups * size) each.
template <class S> struct Kept {
    S* keys;
    S* values;
    long room;
};

// `starts` are the first new token of each row and the end of the last one; `places` the rows in which theirs are kept,
// `before` how many tokens these have already, `first` the first of them that is still looked at.
template <class S>
void forward_kept_attention(const S* query, long query_stride, const S* key, long key_stride, const S* value,
                            long value_stride, const int64_t* starts, const int64_t* places, const int64_t* before,
                            const int64_t* first, const Kept<S>& kept, Number<S> scale, S* context, long rows,
                            long heads, long groups, long size) {
    const long together = heads / groups, width = groups * size;
#pragma omp parallel for schedule(dynamic)
    for (long task = 0; task < rows * groups; ++task) {
        const long row = task / groups, column = task % groups * size, token = starts[row];
        const long count = starts[row + 1] - token, head = task % groups * together;
        S* keys = kept.keys + places[row] * kept.room * width + column;
        S* values = kept.values + places[row] * kept.room * width + column;
        for (long i = 0; i < count; ++i) {
            const long to = (before[row] + i) * width;
            std::memcpy(keys + to, key + (token + i) * key_stride + column, size * sizeof(S));
            std::memcpy(values + to, value + (token + i) * value_stride + column, size * sizeof(S));
        }
        const long away = first[row] * width;
        const Seen<S> seen = {keys + away, width, values + away, width, before[row] + count - first[row]};
        look_back<S>(seen, query + token * query_stride + head * size, query_stride, scale,
                     context + (token * heads + head) * size, heads * size, nullptr, 0, count, together, size);
    }
}

}  // namespace

#define EXPORT_KEPT_ATTENTION(S, NAME)                                                                                 \
    EXPORTED void forward_kept_attention_##NAME(                                                                       \
        const S* query, long query_stride, const S* key, long key_stride, const S* value, long value_stride,           \
        const int64_t* starts, const int64_t* places, const int64_t* before, const int64_t* first, S* keys, S* values, \
        long room, double scale, S* context, long rows, long heads, long groups, long size) {                          \
        forward_kept_attention<S>(query, query_stride, key, key_stride, value, value_stride, starts, places, before,   \
                                  first, {keys, values, room}, Number<S>(scale), context, rows, heads, groups, size);  \
    }

EXPORT_FOR_EACH_TYPE(EXPORT_KEPT_ATTENTION)
