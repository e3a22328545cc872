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

}  // namespace
