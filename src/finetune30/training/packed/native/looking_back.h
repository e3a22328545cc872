// Attention of the last tokens of a row to those up to each of them, for the heads of queries that share keys and values.

#pragma once

#include "small_products.h"

namespace {

// Queries whose scores are in the caches at one time.
constexpr long kQueries = 32;

// The keys and values of a row's tokens, as many as `length`.
template <class S> struct Seen {
    const S* keys;
    long key_stride;
    const S* values;
    long value_stride;
    long length;
};

template <class S, class C> void copy_scaled(C* to, const S* from, long stride, long rows, long size, C scale) {
    for (long i = 0; i < rows; ++i)
        for (long j = 0; j < size; j += kLanes) store(to + i * size + j, load(from + i * stride + j) * scale);
}

// The queries of the last `count` tokens and their context have `heads` heads side by side. `sums`, which may be null,
// get the logarithm of each query's sum of exponentials.
template <class S>
void look_back(const Seen<S>& seen, const S* query, long query_stride, Number<S> scale, S* context, long context_stride,
               Number<S>* sums, long sums_stride, long count, long heads, long size) {
    using C = Number<S>;
    const long before = seen.length - count, all = padded(seen.length);
    C* keys = scratch<C>(2 * all * size + kQueries * (size + all));
    C* values = keys + all * size;
    C* queries = values + all * size;
    C* scores = queries + kQueries * size;
    transpose(keys, seen.keys, seen.key_stride, seen.length, size, all);
    copy_rows(values, seen.values, seen.value_stride, seen.length, size);
    for (long head = 0; head < heads; ++head)
        for (long start = 0; start < count; start += kQueries) {
            const long stop = start + kQueries < count ? start + kQueries : count, some = stop - start;
            const long width = padded(before + stop);
            copy_scaled(queries, query + start * query_stride + head * size, query_stride, some, size, scale);
            multiply(scores, width, queries, size, 1, keys, all, some, size, width);
            for (long i = 0; i < some; ++i) {
                const C logarithm = softmax(scores + i * width, before + start + i + 1, width);
                if (sums) sums[(start + i) * sums_stride + head] = logarithm;
            }
            multiply(context + start * context_stride + head * size, context_stride, scores, width, 1, values, size,
                     some, before + stop, size);
        }
}

}  // namespace
