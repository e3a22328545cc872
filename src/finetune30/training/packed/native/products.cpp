// Products of activations with frozen weights, which are laid out once.
//
// A laid out weight consists of panels: for a few vectors of outputs, one input after the other (for bfloat16, pairs of
// inputs, as the processor's instruction wants them). A tile of the result, some rows by one panel, stays in registers
// while all inputs pass. So every number is summed in the order of the inputs, the same whatever the number of threads
// and whichever rows stand beside it; and nothing is prepared for, or kept of, a number of rows.
//
// The tile is as large as the registers allow: wide enough to load each weight for many rows, high enough to hide how
// long a multiplication takes. At the sizes of such models' layers neither inputs nor rows need to be worked on in
// blocks up to some thousand inputs. Above that a panel leaves the caches, and of the logits of a whole vocabulary each
// tile would read it from memory anew. So many inputs come in blocks, between which the sums wait in memory: the same
// sums, in the same order.

#include <vector>

#include "tiles.h"

#ifdef __AVX2__

namespace {

constexpr long kTilesTogether = 8;
// With so many rows it pays to widen a panel once, instead of in every tile.
constexpr long kRowsToWiden = 4 * kTileRows;
// Inputs that are worked on at a time, where there are more of them than the other number.
template <class S> constexpr long kBlock = 4096 / (kWidensPanels<S> ? sizeof(typename Arithmetic<S>::Input) : sizeof(S));
template <class S> constexpr long kMostAtOnce = 2 * kBlock<S>;

constexpr long divide_up(long number, long by) { return (number + by - 1) / by; }

template <class C> C* room(size_t count) {
    static thread_local std::vector<C> memory;
    if (memory.size() < count) memory.resize(count);
    return memory.data();
}

// Inputs as the tiles read them: themselves, or a widened copy of a block.
template <class S> void take_inputs(Block<S>& block, const Product<S>& of) {
    using Input = typename Arithmetic<S>::Input;
    if constexpr (sizeof(Input) == sizeof(S)) {
        block.inputs = of.inputs + block.first;
        block.stride = of.count;
    } else {
        block.stride = block.end - block.first;
        Input* widened = room<Input>(of.rows * block.stride);
#pragma omp parallel for schedule(static)
        for (long row = 0; row < of.rows; ++row)
            for (long k = 0; k < block.stride; k += kLanes)
                store(widened + row * block.stride + k, load(of.inputs + row * of.count + block.first + k));
        block.inputs = widened;
    }
}

// A block's weights of one panel, (inputs, vectors) instead of pairs of inputs.
template <class S> float* widen_panel(const S* panel, long count, long vectors) {
    using A = Arithmetic<S>;
    // Not the memory of the inputs, which `room` would give for the same type.
    static thread_local std::vector<float> memory;
    if (memory.size() < size_t(count * kPanel<S>)) memory.resize(count * kPanel<S>);
    float* to = memory.data();
    for (long k = 0; k < count; k += A::kDepth)
        for (long v = 0; v < vectors; ++v) {
            typename A::Weights pairs;
            std::memcpy(&pairs, panel + (k * vectors + v * A::kDepth) * A::kNumbers, sizeof pairs);
            const typename A::Sum halves[] = {A::template part<0>(pairs), A::template part<1>(pairs)};
            for (long i = 0; i < A::kDepth; ++i)
                std::memcpy(to + ((k + i) * vectors + v) * A::kNumbers, &halves[i], sizeof halves[i]);
        }
    return to;
}

template <class S> void multiply_block(const Product<S>& of, const Block<S>& block) {
    const long panels = divide_up(of.outputs, kPanel<S>), tiles = divide_up(of.rows, kTileRows);
    const long groups = divide_up(tiles, kTilesTogether), count = block.end - block.first;
    // Each tile fetches its part of the next panel.
    const long steps = divide_up(count, kStep);
    const long lines = divide_up(kPanel<S> * count * long(sizeof(S)), kLine * steps * std::max(tiles, 1L));
    long widened = -1;
    const float* wide = nullptr;
#pragma omp parallel for collapse(2) schedule(static) firstprivate(widened, wide)
    for (long panel = 0; panel < panels; ++panel)
        for (long group = 0; group < groups; ++group) {
            const long column = panel * kPanel<S>, next_column = column + kPanel<S>;
            const long next_width = std::clamp(of.outputs - next_column, 0L, kPanel<S>);
            const S* next = of.panels + next_column * of.count + block.first * next_width;
            const char* end = reinterpret_cast<const char*>(next + count * next_width);
            const long width = std::min(kPanel<S>, of.outputs - column), vectors = width / Arithmetic<S>::kNumbers;
            const S* weights = of.panels + column * of.count + block.first * width;
            if constexpr (kWidensPanels<S>)
                if (of.rows >= kRowsToWiden && widened != panel) {
                    wide = widen_panel(weights, count, vectors);
                    widened = panel;
                }
            // Tiles of nearly the same height: a low one costs as much time as a high one.
            for (long tile = tiles * group / groups; tile < tiles * (group + 1) / groups; ++tile) {
                const long row = of.rows * tile / tiles, rows = of.rows * (tile + 1) / tiles - row;
                const char* ahead = reinterpret_cast<const char*>(next) + tile * steps * lines * kLine;
                if constexpr (kWidensPanels<S>)
                    if (wide) {
                        multiply_columns<kTileVectors>(vectors, of, block, rows,
                                                       Tile<float>{row, column, wide, ahead, end, lines});
                        continue;
                    }
                multiply_columns<kTileVectors>(vectors, of, block, rows,
                                               Tile<S>{row, column, weights, ahead, end, lines});
            }
        }
}

template <class S> void multiply(const Product<S>& of) {
    const long size = of.count > kMostAtOnce<S> ? kBlock<S> : of.count;
    Block<S> block = {};
    // Not the memory of the inputs, which `room` would give for the same type.
    static thread_local std::vector<typename Arithmetic<S>::Number> waiting;
    if (size < of.count && waiting.size() < size_t(of.rows * of.outputs)) waiting.resize(of.rows * of.outputs);
    block.sums = waiting.data();
    for (long first = 0; first < of.count; first += size) {
        block.first = first;
        block.end = std::min(first + size, of.count);
        block.is_last = block.end == of.count;
        take_inputs(block, of);
        multiply_block(of, block);
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

// out[i] = the weights of input chosen[i] as they were before they were laid out, (rows, outputs).
template <class S>
void take_out(S* out, const S* panels, const int64_t* chosen, long rows, long outputs, long count) {
    constexpr long kDepth = Arithmetic<S>::kDepth;
    for (long row = 0; row < rows; ++row)
        for (long column = 0; column < outputs; column += kPanel<S>) {
            const long width = std::min(kPanel<S>, outputs - column), place = chosen[row] % kDepth;
            const S* from = panels + column * count + (chosen[row] - place) * width + place;
            for (long j = 0; j < width; ++j) out[row * outputs + column + j] = from[j * kDepth];
        }
}

}  // namespace

#define EXPORT_PRODUCTS_FOR(S, NAME)                                                                                   \
    EXPORTED void lay_out_##NAME(S* panels, const S* weight, long output_stride, long input_stride, long outputs,      \
                                 long count) {                                                                         \
        lay_out<S>(panels, weight, output_stride, input_stride, outputs, count);                                       \
    }                                                                                                                  \
    EXPORTED void take_out_##NAME(S* out, const S* panels, const int64_t* chosen, long rows, long outputs,             \
                                  long count) {                                                                        \
        take_out<S>(out, panels, chosen, rows, outputs, count);                                                        \
    }                                                                                                                  \
    EXPORTED void multiply_##NAME(S* out, const S* inputs, const S* panels, const S* start, long start_stride,         \
                                  const S* factor, long rows, long count, long outputs) {                              \
        multiply<S>({out, inputs, panels, start, start_stride, factor, rows, count, outputs});                         \
    }

EXPORT_PRODUCTS_FOR(float, float32)
EXPORT_PRODUCTS_FOR(double, float64)
EXPORT_PRODUCTS_FOR(bfloat16, bfloat16)

#endif  // __AVX2__
