// Small products in registers, and how heads come to them: what attention is made of.

#pragma once

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

// out[i][j] = sum over k of left[i * row + k * step] * right[k][j], for Rows rows and Vectors * 16 columns; with Adds it
// is added to what is there.
template <int Rows, int Vectors, bool Adds, class Out, class C>
inline void multiply_block(Out* out, long out_stride, const C* left, long row, long step, const C* right,
                           long right_stride, long count) {
    Held<C> sums[Rows][Vectors] = {};
    for (long k = 0; k < count; ++k) {
        Held<C> values[Vectors];
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) values[v] = hold(right + k * right_stride + v * kLanes);
#pragma GCC unroll 4
        for (int i = 0; i < Rows; ++i) {
            const C factor = left[i * row + k * step];
#pragma GCC unroll 4
            for (int v = 0; v < Vectors; ++v) add_product(sums[i][v], factor, values[v]);
        }
    }
    for (int i = 0; i < Rows; ++i)
        for (int v = 0; v < Vectors; ++v) {
            Out* to = out + i * out_stride + v * kLanes;
            const Vector<C> total = sums[i][v].whole();
            store(to, Adds ? load(to) + total : total);
        }
}

template <int Vectors, bool Adds, class Out, class C>
inline void multiply_columns(Out* out, long out_stride, const C* left, long row, long step, const C* right,
                             long right_stride, long rows, long count) {
    long i = 0;
    for (; i + kBlockRows <= rows; i += kBlockRows)
        multiply_block<kBlockRows, Vectors, Adds>(out + i * out_stride, out_stride, left + i * row, row, step, right,
                                                  right_stride, count);
    if (i + 2 <= rows) {
        multiply_block<2, Vectors, Adds>(out + i * out_stride, out_stride, left + i * row, row, step, right,
                                         right_stride, count);
        i += 2;
    }
    if (i < rows)
        multiply_block<1, Vectors, Adds>(out + i * out_stride, out_stride, left + i * row, row, step, right,
                                         right_stride, count);
}

// The same for any number of rows and any multiple of 16 columns.
template <bool Adds = false, class Out, class C>
void multiply(Out* out, long out_stride, const C* left, long row, long step, const C* right, long right_stride,
              long rows, long count, long columns) {
    long j = 0;
    for (; j + kBlockVectors * kLanes <= columns; j += kBlockVectors * kLanes)
        multiply_columns<kBlockVectors, Adds>(out + j, out_stride, left, row, step, right + j, right_stride, rows,
                                              count);
    for (; j < columns; j += kLanes)
        multiply_columns<1, Adds>(out + j, out_stride, left, row, step, right + j, right_stride, rows, count);
}

// ---------------------------------------------------------------------------------------------------------------------
// Heads

inline long padded(long length) { return (length + kLanes - 1) / kLanes * kLanes; }

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

// Softmax over the first `length` of `width` scores, in place; the others become zero. Returns the logarithm of the
// sum of exponentials.
template <class C> C softmax(C* scores, long length, long width) {
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
    return peak + std::log(total);
}

}  // namespace
