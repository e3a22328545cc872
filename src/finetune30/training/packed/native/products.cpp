// Products of activations with frozen weights, which are laid out once.
//
// A laid out weight consists of panels: for a few vectors of outputs, one input after the other (for bfloat16, pairs of
// inputs, as the processor's instruction wants them). A tile of the result, some rows by one panel, stays in registers
// while all inputs pass. So every number is summed in the order of the inputs, the same whatever the number of threads
// and whichever rows stand beside it; and nothing is prepared for, or kept of, a number of rows.
//
// The tile is as large as the registers allow: wide enough to load each weight for many rows, high enough to hide how
// long a multiplication takes. At the sizes of such models neither inputs nor rows need to be worked on in blocks.

#include <algorithm>

#include "vectors.h"

#ifdef __AVX2__

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace {

#ifdef __AVX512F__
constexpr int kVectorBytes = 64, kTileRows = 8;
#else
constexpr int kVectorBytes = 32, kTileRows = 4;
#endif
constexpr int kTileVectors = 3;
constexpr long kTilesTogether = 8;
// After so many inputs a tile fetches ahead; bytes of a line of the caches.
constexpr long kStep = 16, kLine = 64;

template <class C> struct Register {
    typedef C Type __attribute__((vector_size(kVectorBytes)));
    static constexpr long kNumbers = kVectorBytes / sizeof(C);
};

// How a type is multiplied: `kDepth` inputs at a time, read as one factor that meets a vector of as many weights each.
// Sums start anew every `kStretch` inputs, and are then added up: rounding errors stay smaller than in one long sum. For
// bfloat16 that would not be seen.
template <class S> struct Arithmetic {
    using Sum = typename Register<S>::Type;
    using Factor = S;
    using Weights = Sum;
    static constexpr long kDepth = 1, kNumbers = Register<S>::kNumbers, kStretch = 256;

    static Sum load_sum(const S* from) {
        Sum result;
        std::memcpy(&result, from, sizeof result);
        return result;
    }
    static void store_sum(S* to, Sum value) { std::memcpy(to, &value, sizeof value); }
    static Sum multiply_add(Sum sum, Factor factor, Weights weights) { return sum + factor * weights; }
};

#ifdef __AVX512BF16__
template <> struct Arithmetic<bfloat16> {
    using Sum = Floats;
    using Factor = float;
    using Weights = __m512bh;
    static constexpr long kDepth = 2, kNumbers = kLanes, kStretch = 0;

    static Sum load_sum(const bfloat16* from) { return load(from); }
    static void store_sum(bfloat16* to, Sum value) { store(to, value); }
    static Sum multiply_add(Sum sum, Factor pair, Weights weights) {
        return (Sum)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_ps(pair), weights);
    }
};
#endif

template <class S> constexpr long kPanel = kTileVectors * Arithmetic<S>::kNumbers;

constexpr long divide_up(long number, long by) { return (number + by - 1) / by; }

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

// Where a tile of the result begins; and the part of the next panel that it fetches, `lines` at every step.
struct Tile {
    long row, column;
    const char *ahead, *end;
    long lines;
};

// sums += inputs times weights, for the inputs from `first` to `end`
template <int Rows, int Vectors, class A, class S>
__attribute__((always_inline)) inline void add_products(typename A::Sum (&sums)[Rows][Vectors], const S* inputs,
                                                        long stride, const S* panel, long first, long end) {
    for (long k = first; k < end; k += A::kDepth) {
        typename A::Weights weights[Vectors];
#pragma GCC unroll 3
        for (int v = 0; v < Vectors; ++v)
            std::memcpy(&weights[v], panel + (k * Vectors + v * A::kDepth) * A::kNumbers, sizeof weights[v]);
#pragma GCC unroll 8
        for (int i = 0; i < Rows; ++i) {
            typename A::Factor factor;
            std::memcpy(&factor, inputs + i * stride + k, sizeof factor);
#pragma GCC unroll 3
            for (int v = 0; v < Vectors; ++v) sums[i][v] = A::multiply_add(sums[i][v], factor, weights[v]);
        }
    }
}

// The weights of the next panel come from memory while this tile multiplies; so does what its sums are stored to, of
// which the first step takes the first row, and so on: a line that is only written must be read before, too.
template <int Rows, int Vectors, class S>
__attribute__((always_inline)) inline void fetch_ahead(const Product<S>& of, Tile& tile, long step) {
    for (long i = 0; i < tile.lines && tile.ahead < tile.end; ++i, tile.ahead += kLine)
        __builtin_prefetch(tile.ahead, 0, 2);
    if (step >= Rows) return;
    const long place = (tile.row + step) * of.outputs + tile.column;
    for (int v = 0; v < Vectors; ++v) {
        __builtin_prefetch(of.out + place + v * Arithmetic<S>::kNumbers, 1);
        if (of.factor) __builtin_prefetch(of.factor + place + v * Arithmetic<S>::kNumbers);
    }
}

// The same in steps, after each of which the tile fetches something.
template <int Rows, int Vectors, class A, class S>
__attribute__((always_inline)) inline void add_steps(typename A::Sum (&sums)[Rows][Vectors], const Product<S>& of,
                                                     Tile& tile, long first, long end) {
    const S* inputs = of.inputs + tile.row * of.count;
    const S* panel = of.panels + tile.column * of.count;
    for (; first < end; first += kStep) {
        add_products<Rows, Vectors, A>(sums, inputs, of.count, panel, first, std::min(first + kStep, end));
        fetch_ahead<Rows, Vectors>(of, tile, first / kStep);
    }
}

template <int Rows, int Vectors, class S> void multiply_tile(const Product<S>& of, Tile tile) {
    using A = Arithmetic<S>;
    using Sum = typename A::Sum;
    Sum sums[Rows][Vectors] = {};
    if constexpr (A::kStretch == 0) {
        add_steps<Rows, Vectors, A>(sums, of, tile, 0, of.count);
    } else {
        for (long first = 0; first < of.count; first += A::kStretch) {
            Sum part[Rows][Vectors] = {};
            add_steps<Rows, Vectors, A>(part, of, tile, first, std::min(first + A::kStretch, of.count));
            for (int i = 0; i < Rows; ++i)
                for (int v = 0; v < Vectors; ++v) sums[i][v] += part[i][v];
        }
    }
    for (int i = 0; i < Rows; ++i)
        for (int v = 0; v < Vectors; ++v) {
            const long column = tile.column + v * A::kNumbers, place = (tile.row + i) * of.outputs + column;
            if (of.start) sums[i][v] += A::load_sum(of.start + (tile.row + i) * of.start_stride + column);
            A::store_sum(of.out + place, of.factor ? sums[i][v] * A::load_sum(of.factor + place) : sums[i][v]);
        }
}

template <int Rows, int Vectors, class S> void multiply_rows(long rows, const Product<S>& of, const Tile& tile) {
    if constexpr (Rows > 1)
        if (rows < Rows) return multiply_rows<Rows - 1, Vectors>(rows, of, tile);
    multiply_tile<Rows, Vectors>(of, tile);
}

template <int Vectors, class S>
void multiply_columns(long vectors, const Product<S>& of, long rows, const Tile& tile) {
    if constexpr (Vectors > 1)
        if (vectors < Vectors) return multiply_columns<Vectors - 1>(vectors, of, rows, tile);
    multiply_rows<kTileRows, Vectors>(rows, of, tile);
}

template <class S> void multiply(const Product<S>& of) {
    const long panels = divide_up(of.outputs, kPanel<S>), tiles = divide_up(of.rows, kTileRows);
    const long groups = divide_up(tiles, kTilesTogether);
    // Each tile fetches its part of the next panel.
    const long size = kPanel<S> * of.count * long(sizeof(S)), steps = divide_up(of.count, kStep);
    const long lines = divide_up(size, kLine * steps * std::max(tiles, 1L));
    const char* after_all = reinterpret_cast<const char*>(of.panels + of.outputs * of.count);
#pragma omp parallel for collapse(2) schedule(static)
    for (long panel = 0; panel < panels; ++panel)
        for (long group = 0; group < groups; ++group) {
            const long column = panel * kPanel<S>;
            const char* next = reinterpret_cast<const char*>(of.panels) + (panel + 1) * size;
            const char* end = std::min(next + size, after_all);
            const long vectors = std::min(kPanel<S>, of.outputs - column) / Arithmetic<S>::kNumbers;
            // Tiles of nearly the same height: a low one costs as much time as a high one.
            for (long tile = tiles * group / groups; tile < tiles * (group + 1) / groups; ++tile) {
                const long row = of.rows * tile / tiles, rows = of.rows * (tile + 1) / tiles - row;
                const char* ahead = next + tile * steps * lines * kLine;
                multiply_columns<kTileVectors>(vectors, of, rows, {row, column, ahead, end, lines});
            }
        }
}

// `weight` has output j's number for input i at j * output_stride + i * input_stride.
template <class S>
void lay_out(S* panels, const S* weight, long output_stride, long input_stride, long outputs, long count) {
    constexpr long kDepth = Arithmetic<S>::kDepth;
#pragma omp parallel for schedule(static)
    for (long column = 0; column < outputs; column += kPanel<S>) {
        const long width = std::min(kPanel<S>, outputs - column);
        S* to = panels + column * count;
        for (long i = 0; i < count; i += kDepth)
            for (long j = column; j < column + width; ++j)
                for (long k = i; k < i + kDepth; ++k) *to++ = weight[j * output_stride + k * input_stride];
    }
}

}  // namespace

#define EXPORT_PRODUCTS_FOR(S, NAME)                                                                                   \
    EXPORTED void lay_out_##NAME(S* panels, const S* weight, long output_stride, long input_stride, long outputs,      \
                                 long count) {                                                                         \
        lay_out<S>(panels, weight, output_stride, input_stride, outputs, count);                                       \
    }                                                                                                                  \
    EXPORTED void multiply_##NAME(S* out, const S* inputs, const S* panels, const S* start, long start_stride,         \
                                  const S* factor, long rows, long count, long outputs) {                              \
        multiply<S>({out, inputs, panels, start, start_stride, factor, rows, count, outputs});                         \
    }

EXPORT_PRODUCTS_FOR(float, float32)
EXPORT_PRODUCTS_FOR(double, float64)
#ifdef __AVX512BF16__
EXPORT_PRODUCTS_FOR(bfloat16, bfloat16)
#endif

#endif  // __AVX2__
