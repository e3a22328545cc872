// How products multiply numbers of each type: registers, factors, and what a vector of weights becomes.

#pragma once

#include "vectors.h"

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

template <class C> struct Register {
    typedef C Type __attribute__((vector_size(kVectorBytes)));
    static constexpr long kNumbers = kVectorBytes / sizeof(C);
};

// A type is multiplied `kDepth` inputs at a time, whose weights lie in one vector, in `kParts` parts of which each meets
// a factor of its own. Inputs are read as numbers of type `Input`. Sums start anew every `kStretch` inputs, and are then
// added up: rounding errors stay smaller than in one long sum. For bfloat16 that would not be seen (0). Weights of type
// P are those of type S, or widened before.
template <class S, class P = S> struct Arithmetic {
    using Input = S;
    using Number = S;
    using Sum = typename Register<S>::Type;
    using Factor = S;
    using Weights = Sum;
    static constexpr long kDepth = 1, kParts = 1, kNumbers = Register<S>::kNumbers, kStretch = 256;

    static Sum load_sum(const S* from) {
        Sum result;
        std::memcpy(&result, from, sizeof result);
        return result;
    }
    static void store_sum(S* to, Sum value) { std::memcpy(to, &value, sizeof value); }
    template <int> static Weights part(Weights weights) { return weights; }
    static Sum multiply_add(Sum sum, Factor factor, Weights weights) { return sum + factor * weights; }
};

#ifdef __AVX512BF16__

// Pairs of inputs by pairs of weights.
template <> struct Arithmetic<bfloat16> {
    using Input = bfloat16;
    using Number = float;
    using Sum = Floats;
    using Factor = float;
    using Weights = __m512bh;
    static constexpr long kDepth = 2, kParts = 1, kNumbers = kLanes, kStretch = 0;

    static Sum load_sum(const bfloat16* from) { return load(from); }
    static void store_sum(bfloat16* to, Sum value) { store(to, value); }
    template <int> static Weights part(Weights weights) { return weights; }
    static Sum multiply_add(Sum sum, Factor pair, Weights weights) {
        return (Sum)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_ps(pair), weights);
    }
};

#else

// Inputs were widened to float before; the weights of a pair of inputs are halves of one number each.
template <> struct Arithmetic<bfloat16> {
    using Input = float;
    using Number = float;
    using Sum = typename Register<float>::Type;
    using Factor = float;
    using Weights = typename Register<uint32_t>::Type;
    typedef uint16_t Bits __attribute__((vector_size(kVectorBytes / 2)));
    static constexpr long kDepth = 2, kParts = 2, kNumbers = Register<float>::kNumbers, kStretch = 0;

    static Sum load_sum(const bfloat16* from) {
        Bits bits;
        std::memcpy(&bits, from, sizeof bits);
        return reinterpret_cast<Sum>(__builtin_convertvector(bits, Weights) << 16);
    }
    static void store_sum(bfloat16* to, Sum value) {
        const Bits bits = rounded<Bits, Weights>(value);
        std::memcpy(to, &bits, sizeof bits);
    }
    template <int Place> static Sum part(Weights weights) {
        return reinterpret_cast<Sum>(Place == 0 ? weights << 16 : weights & 0xffff0000u);
    }
    static Sum multiply_add(Sum sum, Factor factor, Sum weights) { return sum + factor * weights; }
};

// The same with weights that were widened too: the same sums in the same order.
template <> struct Arithmetic<bfloat16, float> : Arithmetic<bfloat16> {
    using Weights = Sum;
    static constexpr long kDepth = 1, kParts = 1;

    template <int> static Sum part(Sum weights) { return weights; }
};

#endif

// Whether a panel's weights are widened once for all its tiles. AVX2 has 16 registers: 12 of them hold a tile's sums, and
// pairs of weights beside their halves find no room in the others.
#ifdef __AVX512F__
template <class S> constexpr bool kWidensPanels = false;
#else
template <class S> constexpr bool kWidensPanels = Arithmetic<S>::kParts == 2;
#endif

}  // namespace
