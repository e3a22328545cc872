// LoRA (Hu et al. 2021, section 4.1): output += scale * dropout(x) A^T B^T.

#include <type_traits>

#include "blocks.h"

namespace {

template <bool Masked, class S>
inline Held<Number<S>> load_input(const S* inputs, const uint8_t* mask, Number<S> kept, long i) {
    const Held<Number<S>> value = hold(inputs + i);
    if constexpr (Masked) return keep(value, mask + i, kept);
    return value;
}

// Tokens that one pass over A or B works on, and ranks that one over their rows does: partial sums stay in registers. A
// and B come from the second cache for every pass, so with few tokens that would take longer than to multiply. And
// vectors that one pass over a column of all rows works on.
#ifdef __AVX512F__
constexpr int kTokens = 6, kColumnVectors = 3;
template <int Tokens> constexpr int kRanks = Tokens > 2 ? 4 : 8;
#else
constexpr int kTokens = 2, kColumnVectors = 1;
template <int Tokens> constexpr int kRanks = Tokens > 1 ? 2 : 4;
#endif

template <bool Masked, int Tokens, int Ranks, class S, class C>
__attribute__((noinline)) void dot_products(C* results, long ranks, const S* rows, long stride, const uint8_t* mask,
                                            C kept, const C* matrix, long width, C scale) {
    Held<C> sums[Tokens][Ranks] = {};
    for (long i = 0; i < width; i += kLanes) {
        Held<C> values[Tokens];
#pragma GCC unroll 8
        for (int t = 0; t < Tokens; ++t) values[t] = load_input<Masked>(rows, mask, kept, t * stride + i);
#pragma GCC unroll 8
        for (int k = 0; k < Ranks; ++k) {
            const Held<C> weights = hold(matrix + k * width + i);
#pragma GCC unroll 8
            for (int t = 0; t < Tokens; ++t) add_product(sums[t][k], values[t], weights);
        }
    }
    if constexpr (Tokens * Ranks % 8 == 0) {
        for (int i = 0; i < Tokens * Ranks; i += 8) {
            C eight[8];
            sum_eight(eight, &sums[0][0] + i, scale);
            for (int j = 0; j < 8; ++j) results[(i + j) / Ranks * ranks + (i + j) % Ranks] = eight[j];
        }
    } else {
        for (int t = 0; t < Tokens; ++t)
            for (int k = 0; k < Ranks; ++k) results[t * ranks + k] = sum(sums[t][k]) * scale;
    }
}

template <bool Masked, int Tokens, class S, class C>
inline void reduce_masked(C* results, const S* rows, long stride, const uint8_t* mask, C kept, const C* matrix,
                          long ranks, long width, C scale) {
    constexpr int kTogether = kRanks<Tokens>;
    long k = 0;
    for (; k + kTogether <= ranks; k += kTogether)
        dot_products<Masked, Tokens, kTogether>(results + k, ranks, rows, stride, mask, kept, matrix + k * width, width,
                                                scale);
    for (; k + 4 <= ranks; k += 4)
        dot_products<Masked, Tokens, 4>(results + k, ranks, rows, stride, mask, kept, matrix + k * width, width, scale);
    for (; k < ranks; ++k)
        dot_products<Masked, Tokens, 1>(results + k, ranks, rows, stride, mask, kept, matrix + k * width, width, scale);
}

// results[t][k] = scale * (rows[t] * mask[t]) . matrix[k]; the mask lies as the rows do
template <int Tokens, class S, class C>
inline void reduce(C* results, const S* rows, long stride, const uint8_t* mask, C kept, const C* matrix, long ranks,
                   long width, C scale) {
    if (mask)
        reduce_masked<true, Tokens>(results, rows, stride, mask, kept, matrix, ranks, width, scale);
    else
        reduce_masked<false, Tokens>(results, rows, stride, mask, kept, matrix, ranks, width, scale);
}

template <int Tokens, int Vectors, class S, class C>
__attribute__((noinline)) void expand_columns(S* rows, long stride, const uint8_t* mask, C scale, const C* factors,
                                              const C* matrix, long ranks, long width) {
    Held<C> totals[Tokens][Vectors] = {};
    for (long k = 0; k < ranks; ++k) {
        Held<C> weights[Vectors];
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) weights[v] = hold(matrix + k * width + v * kLanes);
#pragma GCC unroll 8
        for (int t = 0; t < Tokens; ++t) {
            const C factor = factors[t * ranks + k];
#pragma GCC unroll 4
            for (int v = 0; v < Vectors; ++v) add_product(totals[t][v], factor, weights[v]);
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < Tokens; ++t)
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) {
            S* to = rows + t * stride + v * kLanes;
            const Held<C> total = scaled(totals[t][v], scale);
            add_to(to, mask ? keep(total, mask + t * stride + v * kLanes, C(1)) : total);
        }
}

// rows[t] += scale * mask[t] * sum over k of factors[t][k] * matrix[k]
template <int Tokens, class S, class C>
inline void expand(S* rows, long stride, const uint8_t* mask, C scale, const C* factors, const C* matrix, long ranks,
                   long width) {
    long i = 0;
    for (; i + kBlockVectors * kLanes <= width; i += kBlockVectors * kLanes)
        expand_columns<Tokens, kBlockVectors>(rows + i, stride, mask ? mask + i : nullptr, scale, factors, matrix + i,
                                              ranks, width);
    for (; i < width; i += kLanes)
        expand_columns<Tokens, 1>(rows + i, stride, mask ? mask + i : nullptr, scale, factors, matrix + i, ranks, width);
}

// Calls `work` with the first of kTokens tokens, and for those that are left two by two, by all threads of a team.
template <class Work> inline void for_tokens(long tokens, const Work& work) {
#pragma omp for schedule(static)
    for (long token = 0; token < tokens; token += kTokens) {
        if (token + kTokens <= tokens) {
            work(token, std::integral_constant<int, kTokens>());
            continue;
        }
        long left = token;  // OpenMP's own counter must not be moved
        for (; left + 2 <= tokens; left += 2) work(left, std::integral_constant<int, 2>());
        if (left < tokens) work(left, std::integral_constant<int, 1>());
    }
}

// A layer of a group: its weights and their gradients, and which columns of the group's outputs are its own.
template <class C> struct Target {
    const C* a;
    const C* b;
    C* a_gradient;
    C* b_gradient;
    double scale;
    long column, width;
};

// Layers of a group have a mask and reduced rows each, one after the other.
template <class S>
void forward_lora(const Target<Number<S>>* targets, long count, const S* inputs, const uint8_t* masks, Number<S> kept,
                  Number<S>* reduced, S* outputs, long stride, long tokens, long ranks, long width) {
#pragma omp parallel
    for (long place = 0; place < count; ++place) {
        const Target<Number<S>>& to = targets[place];
        const uint8_t* mask = masks ? masks + place * tokens * width : nullptr;
        for_tokens(tokens, [&](long token, auto together) {
            const long start = token * width;
            Number<S>* low = reduced + (place * tokens + token) * ranks;
            reduce<together>(low, inputs + start, width, mask ? mask + start : nullptr, kept, to.a, ranks, width,
                             Number<S>(1));
            expand<together>(outputs + token * stride + to.column, stride, nullptr, Number<S>(to.scale), low, to.b,
                             ranks, to.width);
        });
    }
}

// Tokens whose rows are fetched ahead: rows lie too far apart for the processor to guess the next one.
constexpr long kAhead = 12;

// sums[k][...] += scale * sum over tokens of factors[token][k] * rows[token][...], for some ranks and columns
template <bool Masked, int Ranks, int Vectors, class S, class C>
__attribute__((noinline)) void add_outer_products(C* sums, long width, const C* factors, long ranks, const S* rows,
                                                  long stride, const uint8_t* mask, C scale, long tokens) {
    Held<C> totals[Ranks][Vectors] = {};
    for (long token = 0; token < tokens; ++token) {
        Held<C> values[Vectors];
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) {
            __builtin_prefetch(rows + (token + kAhead) * stride + v * kLanes);
            values[v] = load_input<Masked>(rows, mask, C(1), token * stride + v * kLanes);
        }
#pragma GCC unroll 16
        for (int k = 0; k < Ranks; ++k) {
            const C factor = factors[token * ranks + k];
#pragma GCC unroll 4
            for (int v = 0; v < Vectors; ++v) add_product(totals[k][v], factor, values[v]);
        }
    }
    for (int k = 0; k < Ranks; ++k)
        for (int v = 0; v < Vectors; ++v) {
            C* to = sums + k * width + v * kLanes;
            store(to, load(to) + totals[k][v].whole() * scale);
        }
}

template <bool Masked, int Vectors, class S, class C>
inline void add_outer_columns(C* sums, long width, const C* factors, long ranks, const S* rows, long stride,
                              const uint8_t* mask, C scale, long tokens) {
    constexpr int kMost = 2 * kBlockRows;
    long k = 0;
    for (; k + kMost <= ranks; k += kMost)
        add_outer_products<Masked, kMost, Vectors>(sums + k * width, width, factors + k, ranks, rows, stride, mask,
                                                   scale, tokens);
    for (; k + 4 <= ranks; k += 4)
        add_outer_products<Masked, 4, Vectors>(sums + k * width, width, factors + k, ranks, rows, stride, mask, scale,
                                               tokens);
    for (; k < ranks; ++k)
        add_outer_products<Masked, 1, Vectors>(sums + k * width, width, factors + k, ranks, rows, stride, mask, scale,
                                               tokens);
}

template <bool Masked, class S, class C>
inline void add_outer_masked(C* sums, const C* factors, long ranks, const S* rows, long stride, const uint8_t* mask,
                             C scale, long tokens, long width) {
    constexpr long kColumns = kColumnVectors * kLanes;
#pragma omp for schedule(static) nowait
    for (long i = 0; i < width; i += kColumns) {
        const uint8_t* kept_units = Masked ? mask + i : nullptr;
        if (i + kColumns <= width)
            add_outer_columns<Masked, kColumnVectors>(sums + i, width, factors, ranks, rows + i, stride, kept_units,
                                                      scale, tokens);
        else
            for (long j = 0; i + j < width; j += kLanes)
                add_outer_columns<Masked, 1>(sums + i + j, width, factors, ranks, rows + i + j, stride,
                                             Masked ? kept_units + j : nullptr, scale, tokens);
    }
}

// The same for all ranks and columns; to be called by all threads of a team, which share the columns.
template <class S, class C>
void add_outer(C* sums, const C* factors, long ranks, const S* rows, long stride, const uint8_t* mask, C scale,
               long tokens, long width) {
    if (mask)
        add_outer_masked<true>(sums, factors, ranks, rows, stride, mask, scale, tokens, width);
    else
        add_outer_masked<false>(sums, factors, ranks, rows, stride, mask, scale, tokens, width);
}

// Adds to the gradients of A and B and, if given, to that of the inputs. `lows` is scratch, (count, tokens, ranks): one
// for all layers would have a thread wait for the others.
template <class S>
void backward_lora(const Target<Number<S>>* targets, long count, const S* gradients, long stride, const S* inputs,
                   const uint8_t* masks, Number<S> kept, const Number<S>* reduced, Number<S>* lows, S* below,
                   long tokens, long ranks, long width) {
    using C = Number<S>;
    const C input_scale = masks ? kept : C(1);
#pragma omp parallel
    for (long place = 0; place < count; ++place) {
        const Target<C>& of = targets[place];
        const S* gradient = gradients + of.column;
        const uint8_t* mask = masks ? masks + place * tokens * width : nullptr;
        C* low = lows + place * tokens * ranks;
        for_tokens(tokens, [&](long token, auto together) {
            const long start = token * width;
            C* factors = low + token * ranks;
            reduce<together>(factors, gradient + token * stride, stride, nullptr, C(1), of.b, ranks, of.width,
                             C(of.scale));
            if (below)
                expand<together>(below + start, width, mask ? mask + start : nullptr, input_scale, factors, of.a, ranks,
                                 width);
        });
        add_outer(of.b_gradient, reduced + place * tokens * ranks, ranks, gradient, stride, nullptr, C(of.scale),
                  tokens, of.width);
        add_outer(of.a_gradient, low, ranks, inputs, width, mask, input_scale, tokens, width);
    }
}

}  // namespace

#define EXPORT_LORA(S, NAME)                                                                                           \
    EXPORTED void forward_lora_##NAME(const Target<Number<S>>* targets, long count, const S* inputs,                   \
                                      const uint8_t* masks, double kept, Number<S>* reduced, S* outputs, long stride,  \
                                      long tokens, long ranks, long width) {                                           \
        forward_lora<S>(targets, count, inputs, masks, Number<S>(kept), reduced, outputs, stride, tokens, ranks,       \
                        width);                                                                                        \
    }                                                                                                                  \
    EXPORTED void backward_lora_##NAME(const Target<Number<S>>* targets, long count, const S* gradients, long stride,  \
                                       const S* inputs, const uint8_t* masks, double kept, const Number<S>* reduced,   \
                                       Number<S>* lows, S* below, long tokens, long ranks, long width) {               \
        backward_lora<S>(targets, count, gradients, stride, inputs, masks, Number<S>(kept), reduced, lows, below,      \
                         tokens, ranks, width);                                                                        \
    }

EXPORT_FOR_EACH_TYPE(EXPORT_LORA)
