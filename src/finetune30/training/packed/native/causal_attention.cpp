// Attention of each token to those up to it in its row (Vaswani et al. 2017, section 3.2.3), where neighbours among the
// heads of queries share keys and values (Ainslie et al. 2023).
//
// A few queries at a time, so that their scores stay in the caches, against the keys up to the last of them. What is kept
// is the logarithm of each query's sum of exponentials: the backward pass makes the probabilities again. One thread has
// all queries of a row's keys and values, so what is added up over them is added in the same order by any number.

#include "looking_back.h"

namespace {

// Where a group of heads finds its row, and a head within it its columns.
struct Group {
    long first, length, width, column;

    Group(long task, long groups, long size, const int64_t* starts) {
        const long row = task / groups;
        first = starts[row];
        length = starts[row + 1] - first;
        width = padded(length);
        column = task % groups * size;
    }
};

// Queries, context and sums lie as (tokens, heads * size) and (tokens, heads), keys and values as (tokens, groups * size).
template <class S>
void forward_causal_attention(const S* query, long query_stride, const S* key, long key_stride, const S* value,
                              long value_stride, const int64_t* starts, Number<S> scale, S* context, Number<S>* sums,
                              long rows, long heads, long groups, long size) {
    const long together = heads / groups;
#pragma omp parallel for schedule(dynamic)
    for (long task = 0; task < rows * groups; ++task) {
        const Group at(task, groups, size, starts);
        const long first_head = task % groups * together, place = at.first * heads + first_head;
        const Seen<S> seen = {key + at.first * key_stride + at.column, key_stride,
                              value + at.first * value_stride + at.column, value_stride, at.length};
        look_back<S>(seen, query + at.first * query_stride + first_head * size, query_stride, scale,
                     context + place * size, heads * size, sums + place, heads, at.length, together, size);
    }
}

// The gradients lie as what they belong to, all with rows of `stride` numbers.
template <class S>
void backward_causal_attention(const S* gradient, const S* context, const S* query, long query_stride, const S* key,
                               long key_stride, const S* value, long value_stride, const int64_t* starts,
                               Number<S> scale, const Number<S>* sums, S* query_gradient, S* key_gradient,
                               S* value_gradient, long stride, long rows, long heads, long groups, long size) {
    using C = Number<S>;
    using V = Vector<S>;
    const long together = heads / groups, hidden = heads * size;
#pragma omp parallel for schedule(dynamic)
    for (long task = 0; task < rows * groups; ++task) {
        const Group at(task, groups, size, starts);
        const long square = kQueries * at.width, block = kQueries * size, all = at.width * size;
        C* keys = scratch<C>(5 * all + 2 * square + 2 * block);
        C* turned_keys = keys + all;
        C* turned_values = turned_keys + all;
        C* key_sums = turned_values + all;
        C* value_sums = key_sums + all;
        C* shares = value_sums + all;
        C* scores = shares + square;
        C* queries = scores + square;
        C* contexts = queries + block;
        copy_rows(keys, key + at.first * key_stride + at.column, key_stride, at.length, size);
        transpose(turned_keys, key + at.first * key_stride + at.column, key_stride, at.length, size, at.width);
        transpose(turned_values, value + at.first * value_stride + at.column, value_stride, at.length, size, at.width);
        for (long i = 0; i < 2 * all; ++i) key_sums[i] = 0;
        for (long head = task % groups * together, end = head + together; head < end; ++head)
            for (long start = 0; start < at.length; start += kQueries) {
                const long stop = start + kQueries < at.length ? start + kQueries : at.length, count = stop - start;
                const long token = at.first + start, width = padded(stop);
                copy_scaled(queries, query + token * query_stride + head * size, query_stride, count, size, scale);
                copy_rows(contexts, gradient + token * hidden + head * size, hidden, count, size);
                multiply(shares, width, queries, size, 1, turned_keys, at.width, count, size, width);
                multiply(scores, width, contexts, size, 1, turned_values, at.width, count, size, width);
                for (long i = 0; i < count; ++i) {
                    const S* output = context + (token + i) * hidden + head * size;
                    V along = {};
                    for (long j = 0; j < size; j += kLanes) along += load(contexts + i * size + j) * load(output + j);
                    const C mean = sum(along), logarithm = sums[(token + i) * heads + head];
                    for (long j = 0; j < width; j += kLanes) {
                        const long place = i * width + j;
                        const V power = exponential(load(shares + place) - logarithm);
                        const V share = first_lanes(power, start + i + 1 - j, V{});
                        store(shares + place, share);
                        store(scores + place, (load(scores + place) - mean) * share);
                    }
                }
                multiply<true>(value_sums, size, shares, 1, width, contexts, size, stop, count, size);
                multiply<true>(key_sums, size, scores, 1, width, queries, size, stop, count, size);
                multiply(contexts, size, scores, width, 1, keys, size, count, stop, size);
                for (long i = 0; i < count; ++i)
                    for (long j = 0; j < size; j += kLanes)
                        store(query_gradient + (token + i) * stride + head * size + j,
                              load(contexts + i * size + j) * scale);
            }
        for (long i = 0; i < at.length; ++i)
            for (long j = 0; j < size; j += kLanes) {
                const long place = (at.first + i) * stride + at.column + j;
                store(key_gradient + place, load(key_sums + i * size + j));
                store(value_gradient + place, load(value_sums + i * size + j));
            }
    }
}

}  // namespace

#define EXPORT_CAUSAL_ATTENTION(S, NAME)                                                                               \
    EXPORTED void forward_causal_attention_##NAME(const S* query, long query_stride, const S* key, long key_stride,    \
                                                  const S* value, long value_stride, const int64_t* starts,            \
                                                  double scale, S* context, Number<S>* sums, long rows, long heads,    \
                                                  long groups, long size) {                                            \
        forward_causal_attention<S>(query, query_stride, key, key_stride, value, value_stride, starts,                 \
                                    Number<S>(scale), context, sums, rows, heads, groups, size);                       \
    }                                                                                                                  \
    EXPORTED void backward_causal_attention_##NAME(                                                                    \
        const S* gradient, const S* context, const S* query, long query_stride, const S* key, long key_stride,         \
        const S* value, long value_stride, const int64_t* starts, double scale, const Number<S>* sums,                 \
        S* query_gradient, S* key_gradient, S* value_gradient, long stride, long rows, long heads, long groups,        \
        long size) {                                                                                                   \
        backward_causal_attention<S>(gradient, context, query, query_stride, key, key_stride, value, value_stride,     \
                                     starts, Number<S>(scale), sums, query_gradient, key_gradient, value_gradient,     \
                                     stride, rows, heads, groups, size);                                               \
    }

EXPORT_FOR_EACH_TYPE(EXPORT_CAUSAL_ATTENTION)
