// What the operations between two matrix products share: reductions, exponential, dropout, and their three types.
//
// PyTorch needs some ten operators for each operation, and every one reads and writes whole activations; here each is
// one pass over memory. Activations are float, bfloat16 or double; sums are float (double for double, which only tests
// use). Whatever is added up over tokens is added in the order of the tokens, whoever does it: results do not depend on
// the number of threads.
//
// Everything works on vectors of 16 numbers (GNU vector extensions), so widths and head sizes are multiples of 16.
// All files are compiled once for each instruction set; see setup.py. Called through ctypes; see library.py.

#pragma once

#include <cmath>
#include <utility>

#include "vectors.h"

// One exported function for each operation and type.
#define EXPORT_FOR_EACH_TYPE(EXPORT)                                                                                   \
    EXPORT(float, float32)                                                                                             \
    EXPORT(bfloat16, bfloat16)                                                                                         \
    EXPORT(double, float64)

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

// The same for numbers that are held in registers, times `scale`.
template <class C> __attribute__((always_inline)) inline Held<C> keep(Held<C> value, const uint8_t* mask, C scale) {
#ifdef __AVX512F__
    Vector<C> kept = keep(value.whole(), mask) * scale;
    std::memcpy(value.parts, &kept, sizeof kept);
#else
    using Few = typename Several<uint8_t, Held<C>::kEach>::Type;
    using Wider = typename Several<uint16_t, Held<C>::kEach>::Type;
    using Widest = typename Several<int32_t, Held<C>::kEach>::Type;
#pragma GCC unroll 8
    for (int p = 0; p < Held<C>::kParts; ++p) {
        Few kept;
        std::memcpy(&kept, mask + p * Held<C>::kEach, sizeof kept);
        // In two steps, as above.
        const Widest wide = __builtin_convertvector(__builtin_convertvector(kept, Wider), Widest);
        value.parts[p] = value.parts[p] * __builtin_convertvector(wide, typename Held<C>::Part) * scale;
    }
#endif
    return value;
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

// The same sum in the same order.
inline float sum(Held<float> value) {
#ifdef __AVX512F__
    return sum(value.whole());
#else
    for (int half = Held<float>::kParts / 2; half > 0; half /= 2)
        for (int p = 0; p < half; ++p) value.parts[p] += value.parts[p + half];
    for (int half = Held<float>::kEach / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; ++lane) value.parts[0][lane] += value.parts[0][lane + half];
    return value.parts[0][0];
#endif
}

#ifdef __AVX512F__

// Lanes l and l + By of both vectors, added up: those of a where the bit `By` of the lane is not set, else b's.
template <int By, int... Lane> inline Floats fold(Floats a, Floats b, std::integer_sequence<int, Lane...>) {
    return pick<(Lane & By ? kLanes + Lane - By : Lane)...>(a, b) +
           pick<(Lane & By ? kLanes + Lane : Lane + By)...>(a, b);
}

// The sums of eight vectors, times `scale`; in the order of `sum`, with half of its work.
inline void sum_eight(float* sums, const Held<float>* values, float scale) {
    Floats fours[4], twos[2];
    for (int i = 0; i < 4; ++i) fours[i] = fold<8>(values[i].whole(), values[i + 4].whole(), Lanes());
    for (int i = 0; i < 2; ++i) twos[i] = fold<4>(fours[i], fours[i + 2], Lanes());
    Floats all = fold<2>(twos[0], twos[1], Lanes());
    all += rotate<1>(all, Lanes());
    all *= scale;
    // Lane 8a + 4b + 2c has the sum of vector 4a + 2b + c.
    for (int i = 0; i < 8; ++i) sums[i] = all[2 * i];
}

#endif

inline double sum(Doubles value) {
    for (int half = kLanes / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; ++lane) value[lane] += value[lane + half];
    return value[0];
}

inline double sum(Held<double> value) { return sum(value.whole()); }

template <class C, class V> inline void sum_eight(C* sums, const V* values, C scale) {
    for (int i = 0; i < 8; ++i) sums[i] = sum(values[i]) * scale;
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

}  // namespace
