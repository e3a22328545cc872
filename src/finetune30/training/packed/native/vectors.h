// Numbers, vectors of 16 of them (GNU vector extensions), and how they come from memory and go back.

#pragma once

#include <cstdint>
#include <cstring>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

constexpr int kLanes = 16;

struct bfloat16 {
    uint16_t bits;
};

typedef float Floats __attribute__((vector_size(64)));
typedef double Doubles __attribute__((vector_size(128)));
typedef uint8_t Bytes __attribute__((vector_size(16)));
typedef uint16_t Shorts __attribute__((vector_size(32)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef int32_t Integers __attribute__((vector_size(64)));

template <class Stored> struct Computed {
    using Type = float;
    using Vector = Floats;
};
template <> struct Computed<double> {
    using Type = double;
    using Vector = Doubles;
};
template <class Stored> using Number = typename Computed<Stored>::Type;
template <class Stored> using Vector = typename Computed<Stored>::Vector;

inline Floats load(const float* from) {
    Floats result;
    std::memcpy(&result, from, sizeof result);
    return result;
}

inline Doubles load(const double* from) {
    Doubles result;
    std::memcpy(&result, from, sizeof result);
    return result;
}

inline Floats load(const bfloat16* from) {
    Shorts bits;
    std::memcpy(&bits, from, sizeof bits);
    return reinterpret_cast<Floats>(__builtin_convertvector(bits, Words) << 16);
}

inline void store(float* to, Floats value) { std::memcpy(to, &value, sizeof value); }

inline void store(double* to, Doubles value) { std::memcpy(to, &value, sizeof value); }

// The bits of bfloat16 numbers, rounded to the nearest, ties to even, as PyTorch does.
template <class Bits, class Whole, class Value> inline Bits rounded(Value value) {
    const Whole bits = reinterpret_cast<Whole>(value);
    const Whole nan = Whole{} + 0x7fc0u;
    return __builtin_convertvector(value == value ? (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16 : nan, Bits);
}

inline void store(bfloat16* to, Floats value) {
    const Shorts result = rounded<Shorts, Words>(value);
    std::memcpy(to, &result, sizeof result);
}

// ---------------------------------------------------------------------------------------------------------------------
// Vectors that stay in registers through a loop

#if defined(__AVX512F__)
constexpr int kRegisterBytes = 64;
#elif defined(__AVX__)
constexpr int kRegisterBytes = 32;
#else
constexpr int kRegisterBytes = 16;
#endif

template <class C, int Count> struct Several {
    typedef C Type __attribute__((vector_size(Count * sizeof(C))));
};

// 16 numbers in as many registers as they need. GCC keeps vectors that are wider than a register in memory: every
// operation on them reads and writes the stack.
template <class C> struct Held {
    static constexpr int kEach = (kRegisterBytes < kLanes * int(sizeof(C)) ? kRegisterBytes / int(sizeof(C)) : kLanes);
    static constexpr int kParts = kLanes / kEach;
    using Part = typename Several<C, kEach>::Type;
    Part parts[kParts];

    Vector<C> whole() const {
        Vector<C> result;
        std::memcpy(&result, parts, sizeof result);
        return result;
    }
};

// value * scale, rounded before anything is added to it
template <class C> __attribute__((always_inline)) inline Held<C> scaled(Held<C> value, C scale) {
#pragma GCC unroll 8
    for (int p = 0; p < Held<C>::kParts; ++p) value.parts[p] *= scale;
    return value;
}

// sums += factors * values, where factors are one number for all or as many as values
template <class C, class Factor>
__attribute__((always_inline)) inline void add_product(Held<C>& sums, const Factor& factors, const Held<C>& values) {
#pragma GCC unroll 8
    for (int p = 0; p < Held<C>::kParts; ++p) {
        if constexpr (sizeof(Factor) == sizeof(C))
            sums.parts[p] += factors * values.parts[p];
        else
            sums.parts[p] += factors.parts[p] * values.parts[p];
    }
}

template <class C> __attribute__((always_inline)) inline Held<C> hold(const C* from) {
    Held<C> result;
#pragma GCC unroll 8
    for (int p = 0; p < Held<C>::kParts; ++p)
        std::memcpy(&result.parts[p], from + p * Held<C>::kEach, sizeof result.parts[p]);
    return result;
}

__attribute__((always_inline)) inline Held<float> hold(const bfloat16* from) {
    using Halves = Several<uint16_t, Held<float>::kEach>::Type;
    using Wholes = Several<uint32_t, Held<float>::kEach>::Type;
    Held<float> result;
#pragma GCC unroll 8
    for (int p = 0; p < Held<float>::kParts; ++p) {
        Halves bits;
        std::memcpy(&bits, from + p * Held<float>::kEach, sizeof bits);
        result.parts[p] = reinterpret_cast<Held<float>::Part>(__builtin_convertvector(bits, Wholes) << 16);
    }
    return result;
}

// to += values
__attribute__((always_inline)) inline void add_to(bfloat16* to, const Held<float>& values) {
    using Halves = Several<uint16_t, Held<float>::kEach>::Type;
    using Wholes = Several<uint32_t, Held<float>::kEach>::Type;
    const Held<float> before = hold(to);
#pragma GCC unroll 8
    for (int p = 0; p < Held<float>::kParts; ++p) {
        const Halves bits = rounded<Halves, Wholes>(before.parts[p] + values.parts[p]);
        std::memcpy(to + p * Held<float>::kEach, &bits, sizeof bits);
    }
}

template <class C> __attribute__((always_inline)) inline void add_to(C* to, const Held<C>& values) {
    Held<C> sum = hold(to);
#pragma GCC unroll 8
    for (int p = 0; p < Held<C>::kParts; ++p) {
        sum.parts[p] += values.parts[p];
        std::memcpy(to + p * Held<C>::kEach, &sum.parts[p], sizeof sum.parts[p]);
    }
}

}  // namespace
