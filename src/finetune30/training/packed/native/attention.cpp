// Attention (Vaswani et al. 2017, section 3.2.1) within rows of packed tokens; queries come scaled.

#include <vector>

#include "blocks.h"

namespace {

template <class C> C* scratch(size_t count) {
    static thread_local std::vector<C> memory;
    if (memory.size() < count) memory.resize(count);
    return memory.data();
}

// ---------------------------------------------------------------------------------------------------------------------
// Small products

// out[i][j] = sum over k of left[i * row + k * step] * right[k][j], for Rows rows and Vectors * 16 columns.
template <int Rows, int Vectors, class Out, class C>
inline void multiply_block(Out* out, long out_stride, const C* left, long row, long step, const C* right,
                           long right_stride, long count) {
    Vector<C> sums[Rows][Vectors] = {};
    for (long k = 0; k < count; ++k) {
        Vector<C> values[Vectors];
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) values[v] = load(right + k * right_stride + v * kLanes);
#pragma GCC unroll 4
        for (int i = 0; i < Rows; ++i) {
            const C factor = left[i * row + k * step];
#pragma GCC unroll 4
            for (int v = 0; v < Vectors; ++v) sums[i][v] += factor * values[v];
        }
    }
    for (int i = 0; i < Rows; ++i)
        for (int v = 0; v < Vectors; ++v) store(out + i * out_stride + v * kLanes, sums[i][v]);
}

template <int Vectors, class Out, class C>
inline void multiply_columns(Out* out, long out_stride, const C* left, long row, long step, const C* right,
                             long right_stride, long rows, long count) {
    long i = 0;
    for (; i + kBlockRows <= rows; i += kBlockRows)
        multiply_block<kBlockRows, Vectors>(out + i * out_stride, out_stride, left + i * row, row, step, right,
                                            right_stride, count);
    if (i + 2 <= rows) {
        multiply_block<2, Vectors>(out + i * out_stride, out_stride, left + i * row, row, step, right, right_stride,
                                   count);
        i += 2;
    }
    if (i < rows)
        multiply_block<1, Vectors>(out + i * out_stride, out_stride, left + i * row, row, step, right, right_stride,
                                   count);
}

// The same for any number of rows and any multiple of 16 columns.
template <class Out, class C>
void multiply(Out* out, long out_stride, const C* left, long row, long step, const C* right, long right_stride,
              long rows, long count, long columns) {
    long j = 0;
    for (; j + kBlockVectors * kLanes <= columns; j += kBlockVectors * kLanes)
        multiply_columns<kBlockVectors>(out + j, out_stride, left, row, step, right + j, right_stride, rows, count);
    for (; j < columns; j += kLanes)
        multiply_columns<1>(out + j, out_stride, left, row, step, right + j, right_stride, rows, count);
}

// ---------------------------------------------------------------------------------------------------------------------
// Rows and heads

inline long padded(long length) { return (length + kLanes - 1) / kLanes * kLanes; }

// Where a head of a row finds its tokens, and the queries that ask among them. `starts` has the first token of each row
// and the end of the last one, `query_starts` the same for queries: all tokens, or those that are asked for. `cells` is
// where the probabilities of each row begin: (heads, queries, padded length), zero behind the row's length.
struct HeadOfRow {
    long first, length, width, queries, first_query, column, cell;

    HeadOfRow(long task, long heads, long size, const int64_t* starts, const int64_t* query_starts,
              const int64_t* cells) {
        const long row = task / heads, head = task % heads;
        first = starts[row];
        length = starts[row + 1] - first;
        width = padded(length);
        first_query = query_starts[row];
        queries = query_starts[row + 1] - first_query;
        column = head * size;
        cell = cells[row] + head * queries * width;
    }
};

template <class S, class C> void copy_rows(C* to, const S* from, long stride, long rows, long size) {
    for (long i = 0; i < rows; ++i)
        for (long j = 0; j < size; j += kLanes) store(to + i * size + j, load(from + i * stride + j));
}

// Lanes whose number has the bit `Half` go from a to b, their partners from b to a.
template <int Half, int... Lane> inline void exchange(Floats& a, Floats& b, std::integer_sequence<int, Lane...>) {
    const Floats low = pick<(Lane & Half ? kLanes + Lane - Half : Lane)...>(a, b);
    b = pick<(Lane & Half ? kLanes + Lane : Lane + Half)...>(a, b);
    a = low;
}

template <int Half> inline void exchange_all(Floats* square) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i)
        if (!(i & Half)) exchange<Half>(square[i], square[i + Half], Lanes());
}

inline void transpose_square(Floats* square) {
    exchange_all<1>(square);
    exchange_all<2>(square);
    exchange_all<4>(square);
    exchange_all<8>(square);
}

inline void transpose_square(Doubles* square) {
    for (int i = 0; i < kLanes; ++i)
        for (int j = 0; j < i; ++j) {
            const double other = square[i][j];
            square[i][j] = square[j][i];
            square[j][i] = other;
        }
}

// to[j][i] = from[i][j], (size, width), zero for i >= rows
template <class S, class C> void transpose(C* to, const S* from, long stride, long rows, long size, long width) {
    for (long i = 0; i < width; i += kLanes)
        for (long j = 0; j < size; j += kLanes) {
            Vector<C> square[kLanes] = {};
            const long there = rows - i < kLanes ? rows - i : kLanes;
            for (long k = 0; k < there; ++k) square[k] = load(from + (i + k) * stride + j);
            transpose_square(square);
            for (long k = 0; k < kLanes; ++k) store(to + (j + k) * width + i, square[k]);
        }
}

// Softmax over the first `length` of `width` scores, in place; the others become zero.
template <class C> void softmax(C* scores, long length, long width) {
    using V = Vector<C>;
    V highest = V{} + scores[0];
    for (long j = 0; j < width; j += kLanes)
        highest = larger(highest, first_lanes(load(scores + j), length - j, highest));
    const C peak = largest(highest);
    C total = 0;
    for (long j = 0; j < width; j += kLanes) {
        const V power = first_lanes(exponential(load(scores + j) - peak), length - j, V{});
        store(scores + j, power);
        total += sum(power);
    }
    const V share = V{} + 1 / total;
    for (long j = 0; j < width; j += kLanes) store(scores + j, load(scores + j) * share);
}

// to = from * mask * kept
template <class C> void drop_out(C* to, const C* from, const uint8_t* mask, C kept, long count) {
    for (long i = 0; i < count; i += kLanes) store(to + i, keep(load(from + i), mask + i) * kept);
}

template <class S>
void forward_attention(const S* query, long query_stride, const S* key, const S* value, long key_stride,
                       const int64_t* starts, const int64_t* query_starts, const int64_t* cells, const uint8_t* mask,
                       Number<S> kept, Number<S>* probabilities, S* context, long context_stride, long rows, long heads,
                       long size) {
    using C = Number<S>;
#pragma omp parallel for schedule(static)
    for (long task = 0; task < rows * heads; ++task) {
        const HeadOfRow at(task, heads, size, starts, query_starts, cells);
        C* queries = scratch<C>(at.queries * size + 2 * at.width * size + at.queries * at.width);
        C* keys = queries + at.queries * size;
        C* values = keys + at.width * size;
        C* dropped = values + at.width * size;
        C* shares = probabilities + at.cell;
        copy_rows(queries, query + at.first_query * query_stride + at.column, query_stride, at.queries, size);
        transpose(keys, key + at.first * key_stride + at.column, key_stride, at.length, size, at.width);
        copy_rows(values, value + at.first * key_stride + at.column, key_stride, at.length, size);
        multiply(shares, at.width, queries, size, 1, keys, at.width, at.queries, size, at.width);
        for (long i = 0; i < at.queries; ++i) softmax(shares + i * at.width, at.length, at.width);
        if (mask) drop_out(dropped, shares, mask + at.cell, kept, at.queries * at.width);
        multiply(context + at.first_query * context_stride + at.column, context_stride, mask ? dropped : shares,
                 at.width, 1, values, size, at.queries, at.length, size);
    }
}

template <class S>
void backward_attention(const S* gradient, long gradient_stride, const S* query, long query_stride, const S* key,
                        const S* value, long key_stride, const int64_t* starts, const int64_t* query_starts,
                        const int64_t* cells, const uint8_t* mask, Number<S> kept, const Number<S>* probabilities,
                        S* query_gradient, S* key_gradient, S* value_gradient, long rows, long heads, long size) {
    using C = Number<S>;
    using V = Vector<S>;
#pragma omp parallel for schedule(static)
    for (long task = 0; task < rows * heads; ++task) {
        const HeadOfRow at(task, heads, size, starts, query_starts, cells);
        const long square = at.queries * at.width;
        C* contexts = scratch<C>(2 * at.queries * size + 2 * at.width * size + 2 * square);
        C* queries = contexts + at.queries * size;
        C* keys = queries + at.queries * size;
        C* values = keys + at.width * size;
        C* scores = values + at.width * size;
        C* dropped = scores + square;
        const C* shares = probabilities + at.cell;
        const uint8_t* kept_units = mask ? mask + at.cell : nullptr;
        const long query_place = at.first_query * query_stride + at.column;
        const long key_place = at.first * key_stride + at.column;
        copy_rows(contexts, gradient + at.first_query * gradient_stride + at.column, gradient_stride, at.queries, size);
        copy_rows(queries, query + query_place, query_stride, at.queries, size);
        copy_rows(keys, key + key_place, key_stride, at.length, size);
        transpose(values, value + key_place, key_stride, at.length, size, at.width);
        multiply(scores, at.width, contexts, size, 1, values, at.width, at.queries, size, at.width);
        if (mask) {
            drop_out(dropped, shares, kept_units, kept, square);
            drop_out(scores, scores, kept_units, kept, square);
        }
        for (long i = 0; i < square; i += at.width) {
            V total = {};
            for (long j = i; j < i + at.width; j += kLanes) total += load(scores + j) * load(shares + j);
            const C mean = sum(total);
            for (long j = i; j < i + at.width; j += kLanes)
                store(scores + j, (load(scores + j) - mean) * load(shares + j));
        }
        multiply(value_gradient + key_place, key_stride, mask ? dropped : shares, 1, at.width, contexts, size,
                 at.length, at.queries, size);
        multiply(query_gradient + query_place, query_stride, scores, at.width, 1, keys, size, at.queries, at.length,
                 size);
        multiply(key_gradient + key_place, key_stride, scores, 1, at.width, queries, size, at.length, at.queries, size);
    }
}

}  // namespace

#define EXPORT_ATTENTION(S, NAME)                                                                                      \
    EXPORTED void forward_attention_##NAME(const S* query, long query_stride, const S* key, const S* value,            \
                                           long key_stride, const int64_t* starts, const int64_t* query_starts,        \
                                           const int64_t* cells, const uint8_t* mask, double kept,                     \
                                           Number<S>* probabilities, S* context, long context_stride, long rows,       \
                                           long heads, long size) {                                                    \
        forward_attention<S>(query, query_stride, key, value, key_stride, starts, query_starts, cells, mask,           \
                             Number<S>(kept), probabilities, context, context_stride, rows, heads, size);              \
    }                                                                                                                  \
    EXPORTED void backward_attention_##NAME(                                                                           \
        const S* gradient, long gradient_stride, const S* query, long query_stride, const S* key, const S* value,      \
        long key_stride, const int64_t* starts, const int64_t* query_starts, const int64_t* cells,                     \
        const uint8_t* mask, double kept, const Number<S>* probabilities, S* query_gradient, S* key_gradient,          \
        S* value_gradient, long rows, long heads, long size) {                                                         \
        backward_attention<S>(gradient, gradient_stride, query, query_stride, key, value, key_stride, starts,          \
                              query_starts, cells, mask, Number<S>(kept), probabilities, query_gradient, key_gradient, \
                              value_gradient, rows, heads, size);                                                      \
    }

EXPORT_FOR_EACH_TYPE(EXPORT_ATTENTION)
