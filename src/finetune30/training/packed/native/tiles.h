// A tile of a product: some rows by one panel of outputs, in registers while the inputs pass.

#pragma once

#include <algorithm>

#include "arithmetic.h"

namespace {

// After so many inputs a tile fetches ahead; bytes of a line of the caches.
constexpr long kStep = 16, kLine = 64;

template <class S> constexpr long kPanel = kTileVectors * Arithmetic<S>::kNumbers;

// The operands of one product: out (rows, outputs) = inputs (rows, count) times the weight, plus `start`, and times
// `factor` where there is one. `start` is a row for all (stride 0), or as large as `out` and possibly the same; or null.
template <class S> struct Product {
    S* out;
    const S* inputs;
    const S* panels;
    const S* start;
    long start_stride;
    const S* factor;
    long rows, count, outputs;
};

// Some of a product's inputs, from `first` to `end`, which lie with rows of `stride` numbers. `sums` (rows, outputs) has
// what those before came to, if there were any; it takes what they come to, unless these are the last ones.
template <class S> struct Block {
    const typename Arithmetic<S>::Input* inputs;
    long stride, first, end;
    typename Arithmetic<S>::Number* sums;
    bool is_last;
};

// Where a tile of the result begins; the block's weights of its panel, as they were laid out or widened (P); and the part
// of the next panel that it fetches, `lines` at every step.
template <class P> struct Tile {
    long row, column;
    const P* panel;
    const char *ahead, *end;
    long lines;
};

// sums += factors times one part of the weights
template <int Part, int Rows, int Vectors, class A>
__attribute__((always_inline)) inline void add_part(typename A::Sum (&sums)[Rows][Vectors],
                                                    const typename A::Input* inputs, long stride,
                                                    const typename A::Weights (&weights)[Vectors]) {
    decltype(A::template part<Part>(weights[0])) parts[Vectors];
#pragma GCC unroll 3
    for (int v = 0; v < Vectors; ++v) parts[v] = A::template part<Part>(weights[v]);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
        typename A::Factor factor;
        std::memcpy(&factor, inputs + i * stride + Part, sizeof factor);
#pragma GCC unroll 3
        for (int v = 0; v < Vectors; ++v) sums[i][v] = A::multiply_add(sums[i][v], factor, parts[v]);
    }
}

// sums += inputs times weights, for some inputs; their weights begin at `panel`
template <int Rows, int Vectors, class A, class P>
__attribute__((always_inline)) inline void add_products(typename A::Sum (&sums)[Rows][Vectors],
                                                        const typename A::Input* inputs, long stride, const P* panel,
                                                        long count) {
    for (long k = 0; k < count; k += A::kDepth) {
        typename A::Weights weights[Vectors];
#pragma GCC unroll 3
        for (int v = 0; v < Vectors; ++v)
            std::memcpy(&weights[v], panel + (k * Vectors + v * A::kDepth) * A::kNumbers, sizeof weights[v]);
        add_part<0, Rows, Vectors, A>(sums, inputs + k, stride, weights);
        if constexpr (A::kParts == 2) add_part<1, Rows, Vectors, A>(sums, inputs + k, stride, weights);
    }
}

// The weights of the next panel come from memory while this tile multiplies; so does what its sums are stored to, of
// which the first step takes the first row, and so on: a line that is only written must be read before, too.
template <int Rows, int Vectors, class S, class P>
__attribute__((always_inline)) inline void fetch_ahead(const Product<S>& of, Tile<P>& tile, long step) {
    for (long i = 0; i < tile.lines && tile.ahead < tile.end; ++i, tile.ahead += kLine)
        __builtin_prefetch(tile.ahead, 0, 2);
    if (step >= Rows) return;
    const long place = (tile.row + step) * of.outputs + tile.column;
    for (int v = 0; v < Vectors; ++v) {
        __builtin_prefetch(of.out + place + v * Arithmetic<S>::kNumbers, 1);
        if (of.factor) __builtin_prefetch(of.factor + place + v * Arithmetic<S>::kNumbers);
    }
}

// The same in steps, after each of which the tile fetches something; `first` and `end` count from the block's first.
template <int Rows, int Vectors, class A, class S, class P>
__attribute__((always_inline)) inline void add_steps(typename A::Sum (&sums)[Rows][Vectors], const Product<S>& of,
                                                     const Block<S>& block, Tile<P>& tile, long first, long end) {
    const typename A::Input* inputs = block.inputs + tile.row * block.stride;
    for (; first < end; first += kStep) {
        add_products<Rows, Vectors, A>(sums, inputs + first, block.stride, tile.panel + first * Vectors * A::kNumbers,
                                       std::min(kStep, end - first));
        fetch_ahead<Rows, Vectors>(of, tile, first / kStep);
    }
}

template <int Rows, int Vectors, class S, class P>
void multiply_tile(const Product<S>& of, const Block<S>& block, Tile<P> tile) {
    using A = Arithmetic<S, P>;
    using Sum = typename A::Sum;
    using Whole = Arithmetic<typename A::Number>;
    const long count = block.end - block.first;
    Sum sums[Rows][Vectors] = {};
    if (block.first > 0)
        for (int i = 0; i < Rows; ++i)
            for (int v = 0; v < Vectors; ++v)
                sums[i][v] =
                    Whole::load_sum(block.sums + (tile.row + i) * of.outputs + tile.column + v * A::kNumbers);
    if constexpr (A::kStretch == 0) {
        add_steps<Rows, Vectors, A>(sums, of, block, tile, 0, count);
    } else {
        for (long first = 0; first < count; first += A::kStretch) {
            Sum part[Rows][Vectors] = {};
            add_steps<Rows, Vectors, A>(part, of, block, tile, first, std::min(first + A::kStretch, count));
            for (int i = 0; i < Rows; ++i)
                for (int v = 0; v < Vectors; ++v) sums[i][v] += part[i][v];
        }
    }
    for (int i = 0; i < Rows; ++i)
        for (int v = 0; v < Vectors; ++v) {
            const long column = tile.column + v * A::kNumbers, place = (tile.row + i) * of.outputs + column;
            if (!block.is_last) {
                Whole::store_sum(block.sums + place, sums[i][v]);
                continue;
            }
            if (of.start) sums[i][v] += A::load_sum(of.start + (tile.row + i) * of.start_stride + column);
            A::store_sum(of.out + place, of.factor ? sums[i][v] * A::load_sum(of.factor + place) : sums[i][v]);
        }
}

template <int Rows, int Vectors, class S, class P>
void multiply_rows(long rows, const Product<S>& of, const Block<S>& block, const Tile<P>& tile) {
    if constexpr (Rows > 1)
        if (rows < Rows) return multiply_rows<Rows - 1, Vectors>(rows, of, block, tile);
    multiply_tile<Rows, Vectors>(of, block, tile);
}

template <int Vectors, class S, class P>
void multiply_columns(long vectors, const Product<S>& of, const Block<S>& block, long rows, const Tile<P>& tile) {
    if constexpr (Vectors > 1)
        if (vectors < Vectors) return multiply_columns<Vectors - 1>(vectors, of, block, rows, tile);
    multiply_rows<kTileRows, Vectors>(rows, of, block, tile);
}

}  // namespace
