// The packed path's operations between two matrix products, each as one pass over memory.
//
// PyTorch needs some ten operators for each of these, and every one reads and writes whole activations. Activations are
// float, bfloat16 or double; sums are float (double for double, which only tests use). Whatever is added up over tokens
// is added in the order of the tokens, whoever does it: results do not depend on the number of threads.
//
// Everything works on vectors of 16 numbers (GNU vector extensions), so widths and head sizes are multiples of 16.
// Compiled once for each instruction set, together with products.cpp; see setup.py. Called through ctypes; see
// library.py.

#include <cmath>
#include <type_traits>
#include <utility>
#include <vector>

#include "vectors.h"

namespace {

// Rows and vectors that a small product keeps in registers; AVX2 has half as many of half the width.
#ifdef __AVX512F__
constexpr int kBlockRows = 4, kBlockVectors = 4;
#else
constexpr int kBlockRows = 2, kBlockVectors = 2;
#endif

// In two steps: GCC 12 widens bytes to integers one by one.
inline Integers widen(Bytes bytes) {
    return __builtin_convertvector(__builtin_convertvector(bytes, Shorts), Integers);
}

// The numbers of kept units (1 in the mask), zero for the others (0).
inline Floats keep(Floats value, const uint8_t* mask) {
#ifdef __AVX512F__
    // Negated first: GCC 12 widens bytes that come straight from memory one by one.
    typedef int8_t SignedBytes __attribute__((vector_size(16)));
    SignedBytes kept;
    std::memcpy(&kept, mask, sizeof kept);
    return reinterpret_cast<Floats>(reinterpret_cast<Integers>(value) & __builtin_convertvector(-kept, Integers));
#else
    Bytes kept;
    std::memcpy(&kept, mask, sizeof kept);
    return value * __builtin_convertvector(widen(kept), Floats);
#endif
}

inline Doubles keep(Doubles value, const uint8_t* mask) {
    Bytes kept;
    std::memcpy(&kept, mask, sizeof kept);
    return value * __builtin_convertvector(widen(kept), Doubles);
}

typedef std::make_integer_sequence<int, kLanes> Lanes;

// The lanes of two vectors, a's numbered from 0 and b's from 16, in another order.
template <int... Place> inline Floats pick(Floats a, Floats b) {
#ifdef __clang__
    return __builtin_shufflevector(a, b, Place...);
#else
    return __builtin_shuffle(a, b, Integers{Place...});
#endif
}

template <int By, int... Lane> inline Floats rotate(Floats value, std::integer_sequence<int, Lane...>) {
    return pick<((Lane + By) % kLanes)...>(value, value);
}

template <class V> inline V larger(V a, V b) { return a > b ? a : b; }

// Pairwise, so that float sums of a long vector lose little.
inline float sum(Floats value) {
    value += rotate<8>(value, Lanes());
    value += rotate<4>(value, Lanes());
    value += rotate<2>(value, Lanes());
    value += rotate<1>(value, Lanes());
    return value[0];
}

inline double sum(Doubles value) {
    for (int half = kLanes / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; ++lane) value[lane] += value[lane + half];
    return value[0];
}

inline float largest(Floats value) {
    value = larger(value, rotate<8>(value, Lanes()));
    value = larger(value, rotate<4>(value, Lanes()));
    value = larger(value, rotate<2>(value, Lanes()));
    value = larger(value, rotate<1>(value, Lanes()));
    return value[0];
}

inline double largest(Doubles value) {
    double result = value[0];
    for (int lane = 1; lane < kLanes; ++lane) result = value[lane] > result ? value[lane] : result;
    return result;
}

// The first `count` lanes of a vector; the others become `rest`.
template <class V> inline V first_lanes(V value, long count, V rest) {
    const Integers lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const auto inside = __builtin_convertvector(lane < Integers{} + int(count), decltype(value > value));
    return inside ? value : rest;
}

// exp(x) for x <= 88: 2^n times the Taylor series of the rest, which is at most ln(2) / 2.
inline Floats exponential(Floats x) {
    const Floats lowest = Floats{} - 87.0f;
    x = x < lowest ? lowest : x;
    const Floats to_integer = Floats{} + 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to an integer
    const Floats n = (x * 1.44269504f + to_integer) - to_integer;
    const Floats rest = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln(2) in two parts
    Floats series = Floats{} + 1.0f / 5040;
    for (const float coefficient : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
        series = series * rest + coefficient;
    const Integers exponent = (__builtin_convertvector(n, Integers) + 127) << 23;
    return series * reinterpret_cast<Floats>(exponent);
}

inline Doubles exponential(Doubles x) {
    for (int lane = 0; lane < kLanes; ++lane) x[lane] = std::exp(x[lane]);
    return x;
}

// erfc(z) for z >= 0, given exp(-z^2). The polynomial in 1 / (1 + z * 0.5625) approximates erfc(z) * exp(z^2); fitted
// by weighted least squares, relative error 1e-8 in exact arithmetic and 3e-7 in float.
inline Floats complementary_error(Floats z, Floats exponential_of_square) {
    const Floats t = 1.0f / (1.0f + 0.5625f * z);
    Floats series = Floats{} + 0.0614412089f;
    for (const float coefficient : {-0.3411204042f, 0.7466898489f, -0.740339916f, 0.2388618946f, -0.04780167232f,
                                    0.1816729797f, 0.2658540981f, 0.3173830686f, 0.3173589053f})
        series = series * t + coefficient;
    return series * t * exponential_of_square;
}

inline Doubles complementary_error(Doubles z, Doubles) {
    for (int lane = 0; lane < kLanes; ++lane) z[lane] = std::erfc(z[lane]);
    return z;
}

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
// Dropout, residual, layer norm

// output becomes rows + output * mask * kept; normed its layer norm.
template <class S>
void forward_norm(S* output, const S* rows, const uint8_t* mask, Number<S> kept, const S* weight, const S* bias,
                  Number<S> epsilon, S* normed, Number<S>* means, Number<S>* reciprocals, long tokens, long width) {
    using V = Vector<S>;
#pragma omp parallel for schedule(static)
    for (long token = 0; token < tokens; ++token) {
        const long start = token * width;
        V total = {};
        for (long i = start; i < start + width; i += kLanes) {
            V value = load(output + i);
            if (mask) value = keep(value, mask + i) * kept;
            store(output + i, value + load(rows + i));
            total += load(output + i);
        }
        const Number<S> mean = sum(total) / width;
        V squares = {};
        for (long i = start; i < start + width; i += kLanes) {
            const V difference = load(output + i) - mean;
            squares += difference * difference;
        }
        const Number<S> reciprocal = 1 / std::sqrt(sum(squares) / width + epsilon);
        for (long i = 0; i < width; i += kLanes) {
            const V value = (load(output + start + i) - mean) * reciprocal;
            store(normed + start + i, value * load(weight + i) + load(bias + i));
        }
        means[token] = mean;
        reciprocals[token] = reciprocal;
    }
}

// below becomes the gradient of the sum, masked that of what was dropped out (not written without a mask).
template <class S>
void backward_norm(const S* gradient, const S* residual, const uint8_t* mask, Number<S> kept, const S* weight,
                   const Number<S>* means, const Number<S>* reciprocals, S* below, S* masked, long tokens, long width) {
    using V = Vector<S>;
#pragma omp parallel for schedule(static)
    for (long token = 0; token < tokens; ++token) {
        const long start = token * width;
        const Number<S> mean = means[token], reciprocal = reciprocals[token];
        V total = {}, along = {};
        for (long i = 0; i < width; i += kLanes) {
            const V scaled = load(gradient + start + i) * load(weight + i);
            total += scaled;
            along += scaled * ((load(residual + start + i) - mean) * reciprocal);
        }
        const Number<S> mean_total = sum(total) / width, mean_along = sum(along) / width;
        for (long i = 0; i < width; i += kLanes) {
            const V normal = (load(residual + start + i) - mean) * reciprocal;
            const V scaled = load(gradient + start + i) * load(weight + i);
            const V value = (scaled - mean_total - normal * mean_along) * reciprocal;
            store(below + start + i, value);
            if (mask) store(masked + start + i, keep(value, mask + start + i) * kept);
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Dropout masks: Threefry-2x32 with 20 rounds (Salmon et al. 2011), which turns a key and a counter into random bits

constexpr long kMaskBlock = 4 * kLanes;

// 16 counters of a draw, starting at `counter`, become two random words each.
inline void threefry(Words& low, Words& high, uint32_t counter, uint32_t draw, uint32_t key_low, uint32_t key_high) {
    const uint32_t keys[3] = {key_low, key_high, 0x1bd11bdau ^ key_low ^ key_high};
    const int rotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
    low = Words{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} + (counter + keys[0]);
    high = Words{} + (draw + keys[1]);
#pragma GCC unroll 5
    for (uint32_t group = 0; group < 5; ++group) {
#pragma GCC unroll 4
        for (int round = 0; round < 4; ++round) {
            const int rotation = rotations[group % 2][round];
            low += high;
            high = (high << rotation) | (high >> (32 - rotation));
            high ^= low;
        }
        low += keys[(group + 1) % 3];
        high += keys[(group + 2) % 3] + group + 1;
    }
}

// 16 random bits decide a unit: it is dropped (0) below the threshold and kept (1) else.
inline void store_kept(uint8_t* mask, Words bits, uint32_t threshold) {
    const Bytes kept = __builtin_convertvector((bits >= threshold) & 1, Bytes);
    std::memcpy(mask, &kept, sizeof kept);
}

void fill_mask(uint8_t* mask, long count, uint32_t key_low, uint32_t key_high, uint32_t draw, uint32_t threshold) {
#pragma omp parallel for schedule(static)
    for (long i = 0; i < count; i += kMaskBlock) {
        Words low, high;
        threefry(low, high, uint32_t(i / 4), draw, key_low, key_high);
        store_kept(mask + i, low & 0xffffu, threshold);
        store_kept(mask + i + kLanes, low >> 16, threshold);
        store_kept(mask + i + 2 * kLanes, high & 0xffffu, threshold);
        store_kept(mask + i + 3 * kLanes, high >> 16, threshold);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// GELU (Hendrycks & Gimpel 2016): x times the normal distribution function of x

// active becomes gelu(inner); with keeps_derivative, inner becomes the derivative there.
template <class S> void forward_gelu(S* inner, S* active, int keeps_derivative, long count) {
    using V = Vector<S>;
    const Number<S> root_of_half = 0.70710678118654752440, density_scale = 0.39894228040143267794;
#pragma omp parallel for schedule(static)
    for (long i = 0; i < count; i += kLanes) {
        const V x = load(inner + i);
        const V z = (x < 0 ? -x : x) * root_of_half;
        const V bell = exponential(-z * z);
        const V tail = complementary_error(z, bell) * Number<S>(0.5);
        const V distribution = x < 0 ? tail : 1 - tail;
        store(active + i, x * distribution);
        if (keeps_derivative) store(inner + i, distribution + x * bell * density_scale);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// LoRA (Hu et al. 2021, section 4.1): output += scale * dropout(x) A^T B^T

template <class S> inline Vector<S> load_input(const S* inputs, const uint8_t* mask, Number<S> kept, long i) {
    const Vector<S> value = load(inputs + i);
    return mask ? keep(value, mask + i) * kept : value;
}

// Ranks and tokens that one pass over rows works on: their partial sums stay in registers.
constexpr long kRanks = 8;
constexpr int kTokens = kBlockRows / 2;

template <int Tokens, int Ranks, class S, class C>
inline void dot_products(C* results, long ranks, const S* rows, long stride, const uint8_t* mask, C kept,
                         const C* matrix, long width, C scale) {
    Vector<C> sums[Tokens][Ranks] = {};
    for (long i = 0; i < width; i += kLanes) {
        Vector<C> values[Tokens];
        for (int t = 0; t < Tokens; ++t) values[t] = load_input(rows, mask, kept, t * stride + i);
#pragma GCC unroll 8
        for (int k = 0; k < Ranks; ++k) {
            const Vector<C> weights = load(matrix + k * width + i);
            for (int t = 0; t < Tokens; ++t) sums[t][k] += values[t] * weights;
        }
    }
    for (int t = 0; t < Tokens; ++t)
        for (int k = 0; k < Ranks; ++k) results[t * ranks + k] = sum(sums[t][k]) * scale;
}

// results[t][k] = scale * (rows[t] * mask[t]) . matrix[k]; the mask lies as the rows do
template <int Tokens, class S, class C>
inline void reduce(C* results, const S* rows, long stride, const uint8_t* mask, C kept, const C* matrix, long ranks,
                   long width, C scale) {
    long k = 0;
    for (; k + kRanks <= ranks; k += kRanks)
        dot_products<Tokens, kRanks>(results + k, ranks, rows, stride, mask, kept, matrix + k * width, width, scale);
    for (; k + 4 <= ranks; k += 4)
        dot_products<Tokens, 4>(results + k, ranks, rows, stride, mask, kept, matrix + k * width, width, scale);
    for (; k < ranks; ++k)
        dot_products<Tokens, 1>(results + k, ranks, rows, stride, mask, kept, matrix + k * width, width, scale);
}

template <int Tokens, int Vectors, class S, class C>
inline void expand_columns(S* rows, long stride, const uint8_t* mask, C scale, const C* factors, const C* matrix,
                           long ranks, long width) {
    Vector<C> totals[Tokens][Vectors] = {};
    for (long k = 0; k < ranks; ++k) {
        Vector<C> weights[Vectors];
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) weights[v] = load(matrix + k * width + v * kLanes);
#pragma GCC unroll 4
        for (int t = 0; t < Tokens; ++t) {
            const C factor = factors[t * ranks + k];
#pragma GCC unroll 4
            for (int v = 0; v < Vectors; ++v) totals[t][v] += factor * weights[v];
        }
    }
    for (int t = 0; t < Tokens; ++t)
        for (int v = 0; v < Vectors; ++v) {
            S* to = rows + t * stride + v * kLanes;
            const Vector<C> total = totals[t][v] * scale;
            store(to, load(to) + (mask ? keep(total, mask + t * stride + v * kLanes) : total));
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

// Calls `work` with the first of kTokens tokens, and for those that are left one by one, by all threads of a team.
template <class Work> inline void for_tokens(long tokens, const Work& work) {
#pragma omp for schedule(static)
    for (long token = 0; token < tokens; token += kTokens) {
        if (token + kTokens <= tokens) {
            work(token, std::integral_constant<int, kTokens>());
            continue;
        }
        for (long single = token; single < tokens; ++single) work(single, std::integral_constant<int, 1>());
    }
}

template <class S>
void forward_lora(const S* inputs, const uint8_t* mask, Number<S> kept, const Number<S>* a, const Number<S>* b,
                  Number<S> scale, Number<S>* reduced, S* outputs, long output_stride, long tokens, long ranks,
                  long input_width, long output_width) {
#pragma omp parallel
    for_tokens(tokens, [&](long token, auto together) {
        const long start = token * input_width;
        Number<S>* low = reduced + token * ranks;
        reduce<together>(low, inputs + start, input_width, mask ? mask + start : nullptr, kept, a, ranks, input_width,
                         Number<S>(1));
        expand<together>(outputs + token * output_stride, output_stride, nullptr, scale, low, b, ranks, output_width);
    });
}

// sums[k][...] += scale * sum over tokens of factors[token][k] * rows[token][...], for some ranks and columns
template <int Ranks, int Vectors, class S, class C>
inline void add_outer_products(C* sums, long width, const C* factors, long ranks, const S* rows, long stride,
                               const uint8_t* mask, C scale, long tokens) {
    Vector<C> totals[Ranks][Vectors] = {};
    for (long token = 0; token < tokens; ++token) {
        Vector<C> values[Vectors];
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v)
            values[v] = load_input(rows + token * stride, mask ? mask + token * stride : nullptr, C(1), v * kLanes);
#pragma GCC unroll 8
        for (int k = 0; k < Ranks; ++k) {
            const C factor = factors[token * ranks + k];
#pragma GCC unroll 2
            for (int v = 0; v < Vectors; ++v) totals[k][v] += factor * values[v];
        }
    }
    for (int k = 0; k < Ranks; ++k)
        for (int v = 0; v < Vectors; ++v) {
            C* to = sums + k * width + v * kLanes;
            store(to, load(to) + totals[k][v] * scale);
        }
}

template <int Vectors, class S, class C>
inline void add_outer_columns(C* sums, long width, const C* factors, long ranks, const S* rows, long stride,
                              const uint8_t* mask, C scale, long tokens) {
    constexpr int kMost = Vectors == 1 ? 8 : kBlockRows * 2;
    long k = 0;
    for (; k + kMost <= ranks; k += kMost)
        add_outer_products<kMost, Vectors>(sums + k * width, width, factors + k, ranks, rows, stride, mask, scale,
                                           tokens);
    for (; k < ranks; ++k)
        add_outer_products<1, Vectors>(sums + k * width, width, factors + k, ranks, rows, stride, mask, scale, tokens);
}

// The same for all ranks and columns; to be called by all threads of a team, which share the columns.
template <class S, class C>
void add_outer(C* sums, const C* factors, long ranks, const S* rows, long stride, const uint8_t* mask, C scale,
               long tokens, long width) {
    constexpr long kColumns = 2 * kLanes;
#pragma omp for schedule(static) nowait
    for (long i = 0; i < width; i += kColumns) {
        const uint8_t* kept_units = mask ? mask + i : nullptr;
        if (i + kColumns <= width)
            add_outer_columns<2>(sums + i, width, factors, ranks, rows + i, stride, kept_units, scale, tokens);
        else
            add_outer_columns<1>(sums + i, width, factors, ranks, rows + i, stride, kept_units, scale, tokens);
    }
}

// Adds to the gradients of A and B and, if given, to that of the inputs. `low` is scratch, (tokens, ranks).
template <class S>
void backward_lora(const S* gradient, long gradient_stride, const S* inputs, const uint8_t* mask, Number<S> kept,
                   const Number<S>* a, const Number<S>* b, Number<S> scale, const Number<S>* reduced, Number<S>* low,
                   Number<S>* a_gradient, Number<S>* b_gradient, S* below, long tokens, long ranks, long input_width,
                   long output_width) {
    using C = Number<S>;
    const C input_scale = mask ? kept : C(1);
#pragma omp parallel
    {
        for_tokens(tokens, [&](long token, auto together) {
            const long start = token * input_width;
            C* factors = low + token * ranks;
            reduce<together>(factors, gradient + token * gradient_stride, gradient_stride, nullptr, C(1), b, ranks,
                             output_width, scale);
            if (below)
                expand<together>(below + start, input_width, mask ? mask + start : nullptr, input_scale, factors, a,
                                 ranks, input_width);
        });
        add_outer(b_gradient, reduced, ranks, gradient, gradient_stride, nullptr, scale, tokens, output_width);
        add_outer(a_gradient, low, ranks, inputs, input_width, mask, input_scale, tokens, input_width);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Attention (Vaswani et al. 2017, section 3.2.1) within rows of packed tokens; queries come scaled

inline long padded(long length) { return (length + kLanes - 1) / kLanes * kLanes; }

// Where a head of a row finds its tokens. `starts` has the first token of each row and the end of the last one; `cells`
// where the probabilities of each row begin: (heads, queries, padded length), zero behind the row's length. A pooled
// layer asks for the first token of each row only, and has one query and one result a row.
struct HeadOfRow {
    long first, length, width, queries, first_query, column, cell;

    HeadOfRow(long task, long heads, long size, const int64_t* starts, const int64_t* cells, int pooled) {
        const long row = task / heads, head = task % heads;
        first = starts[row];
        length = starts[row + 1] - first;
        width = padded(length);
        queries = pooled ? 1 : length;
        first_query = pooled ? row : first;
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
                       const int64_t* starts, const int64_t* cells, const uint8_t* mask, Number<S> kept,
                       Number<S>* probabilities, S* context, long context_stride, long rows, long heads, long size,
                       int pooled) {
    using C = Number<S>;
#pragma omp parallel for schedule(static)
    for (long task = 0; task < rows * heads; ++task) {
        const HeadOfRow at(task, heads, size, starts, cells, pooled);
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
                        const S* value, long key_stride, const int64_t* starts, const int64_t* cells,
                        const uint8_t* mask, Number<S> kept, const Number<S>* probabilities, S* query_gradient,
                        S* key_gradient, S* value_gradient, long rows, long heads, long size, int pooled) {
    using C = Number<S>;
    using V = Vector<S>;
#pragma omp parallel for schedule(static)
    for (long task = 0; task < rows * heads; ++task) {
        const HeadOfRow at(task, heads, size, starts, cells, pooled);
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

// ---------------------------------------------------------------------------------------------------------------------
// One exported function for each operation and type

// Raised with every change of a signature or of a result; library.py knows the same number.
EXPORTED int kernels_version() { return 2; }

EXPORTED const char* kernels_compiler() { return __VERSION__; }

EXPORTED void draw_mask(uint8_t* mask, long count, long key_low, long key_high, long draw, long threshold) {
    fill_mask(mask, count, uint32_t(key_low), uint32_t(key_high), uint32_t(draw), uint32_t(threshold));
}

#define EXPORT_FOR(S, NAME)                                                                                            \
    EXPORTED void forward_norm_##NAME(S* output, const S* rows, const uint8_t* mask, double kept, const S* weight,     \
                                      const S* bias, double epsilon, S* normed, Number<S>* means,                      \
                                      Number<S>* reciprocals, long tokens, long width) {                               \
        forward_norm<S>(output, rows, mask, Number<S>(kept), weight, bias, Number<S>(epsilon), normed, means,          \
                        reciprocals, tokens, width);                                                                   \
    }                                                                                                                  \
    EXPORTED void backward_norm_##NAME(const S* gradient, const S* residual, const uint8_t* mask, double kept,         \
                                       const S* weight, const Number<S>* means, const Number<S>* reciprocals,          \
                                       S* below, S* masked, long tokens, long width) {                                 \
        backward_norm<S>(gradient, residual, mask, Number<S>(kept), weight, means, reciprocals, below, masked, tokens, \
                         width);                                                                                       \
    }                                                                                                                  \
    EXPORTED void forward_gelu_##NAME(S* inner, S* active, int keeps_derivative, long count) {                         \
        forward_gelu<S>(inner, active, keeps_derivative, count);                                                       \
    }                                                                                                                  \
    EXPORTED void forward_lora_##NAME(const S* inputs, const uint8_t* mask, double kept, const Number<S>* a,           \
                                      const Number<S>* b, double scale, Number<S>* reduced, S* outputs,                \
                                      long output_stride, long tokens, long ranks, long input_width,                   \
                                      long output_width) {                                                             \
        forward_lora<S>(inputs, mask, Number<S>(kept), a, b, Number<S>(scale), reduced, outputs, output_stride,        \
                        tokens, ranks, input_width, output_width);                                                     \
    }                                                                                                                  \
    EXPORTED void backward_lora_##NAME(const S* gradient, long gradient_stride, const S* inputs, const uint8_t* mask,  \
                                       double kept, const Number<S>* a, const Number<S>* b, double scale,              \
                                       const Number<S>* reduced, Number<S>* low, Number<S>* a_gradient,                \
                                       Number<S>* b_gradient, S* below, long tokens, long ranks, long input_width,     \
                                       long output_width) {                                                            \
        backward_lora<S>(gradient, gradient_stride, inputs, mask, Number<S>(kept), a, b, Number<S>(scale), reduced,    \
                         low, a_gradient, b_gradient, below, tokens, ranks, input_width, output_width);                \
    }                                                                                                                  \
    EXPORTED void forward_attention_##NAME(const S* query, long query_stride, const S* key, const S* value,            \
                                           long key_stride, const int64_t* starts, const int64_t* cells,               \
                                           const uint8_t* mask, double kept, Number<S>* probabilities, S* context,     \
                                           long context_stride, long rows, long heads, long size, int pooled) {        \
        forward_attention<S>(query, query_stride, key, value, key_stride, starts, cells, mask, Number<S>(kept),        \
                             probabilities, context, context_stride, rows, heads, size, pooled);                       \
    }                                                                                                                  \
    EXPORTED void backward_attention_##NAME(                                                                           \
        const S* gradient, long gradient_stride, const S* query, long query_stride, const S* key, const S* value,      \
        long key_stride, const int64_t* starts, const int64_t* cells, const uint8_t* mask, double kept,                \
        const Number<S>* probabilities, S* query_gradient, S* key_gradient, S* value_gradient, long rows, long heads,  \
        long size, int pooled) {                                                                                       \
        backward_attention<S>(gradient, gradient_stride, query, query_stride, key, value, key_stride, starts, cells,   \
                              mask, Number<S>(kept), probabilities, query_gradient, key_gradient, value_gradient,      \
                              rows, heads, size, pooled);                                                              \
    }

EXPORT_FOR(float, float32)
EXPORT_FOR(bfloat16, bfloat16)
EXPORT_FOR(double, float64)
