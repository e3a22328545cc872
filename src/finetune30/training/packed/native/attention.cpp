// Attention (Vaswani et al. 2017, section 3.2.1) within rows of packed tokens; queries come scaled.

#include "small_products.h"

namespace {

// ---------------------------------------------------------------------------------------------------------------------
// Rows and heads

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
