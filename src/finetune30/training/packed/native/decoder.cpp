// What lies between the products of a decoder's layer: root mean square norm (Zhang & Sennrich 2019), rotary positions
// (Su et al. 2021), the gate of a feed-forward block (Shazeer 2020).

#include "blocks.h"

namespace {

template <class S>
void forward_rms_norm(const S* rows, const S* weight, Number<S> epsilon, S* normed, Number<S>* reciprocals, long tokens,
                      long width) {
    using V = Vector<S>;
#pragma omp parallel for schedule(static)
    for (long token = 0; token < tokens; ++token) {
        const long start = token * width;
        V squares = {};
        for (long i = start; i < start + width; i += kLanes) squares += load(rows + i) * load(rows + i);
        const Number<S> reciprocal = 1 / std::sqrt(sum(squares) / width + epsilon);
        for (long i = 0; i < width; i += kLanes)
            store(normed + start + i, load(rows + start + i) * reciprocal * load(weight + i));
        reciprocals[token] = reciprocal;
    }
}

// below += the gradient of the rows; `onto` false: below becomes it
template <class S>
void backward_rms_norm(const S* gradient, const S* rows, const S* weight, const Number<S>* reciprocals, S* below,
                       int onto, long tokens, long width) {
    using V = Vector<S>;
#pragma omp parallel for schedule(static)
    for (long token = 0; token < tokens; ++token) {
        const long start = token * width;
        const Number<S> reciprocal = reciprocals[token];
        V along = {};
        for (long i = 0; i < width; i += kLanes)
            along += load(gradient + start + i) * load(weight + i) * load(rows + start + i);
        const Number<S> mean = sum(along) / width * reciprocal * reciprocal;
        for (long i = 0; i < width; i += kLanes) {
            const V value =
                (load(gradient + start + i) * load(weight + i) - load(rows + start + i) * mean) * reciprocal;
            store(below + start + i, onto ? load(below + start + i) + value : value);
        }
    }
}

// Turns heads in place; a token's heads lie side by side, its cosines and sines are (size / 2,). `direction` is 1 or -1.
template <class S>
void turn(S* heads, long stride, const Number<S>* cosines, const Number<S>* sines, Number<S> direction, long tokens,
          long count, long size) {
    using V = Vector<S>;
    const long half = size / 2;
#pragma omp parallel for schedule(static)
    for (long token = 0; token < tokens; ++token)
        for (long head = 0; head < count; ++head)
            for (long i = 0; i < half; i += kLanes) {
                S* first = heads + token * stride + head * size + i;
                const V cosine = load(cosines + token * half + i), sine = load(sines + token * half + i) * direction;
                const V a = load(first), b = load(first + half);
                store(first, a * cosine - b * sine);
                store(first + half, b * cosine + a * sine);
            }
}

// 1 / (1 + exp(-x))
template <class V> inline V logistic(V x) {
    const V power = exponential(x < 0 ? x : -x);
    return (x < 0 ? power : V{} + 1) / (power + 1);
}

// active = silu(gate) * up, where gate and up lie side by side in rows of 2 * width
template <class S> void forward_gate(const S* pair, S* active, long tokens, long width) {
    using V = Vector<S>;
#pragma omp parallel for schedule(static)
    for (long token = 0; token < tokens; ++token)
        for (long i = 0; i < width; i += kLanes) {
            const V gate = load(pair + token * 2 * width + i), up = load(pair + (token * 2 + 1) * width + i);
            store(active + token * width + i, gate * logistic(gate) * up);
        }
}

template <class S> void backward_gate(const S* gradient, const S* pair, S* below, long tokens, long width) {
    using V = Vector<S>;
#pragma omp parallel for schedule(static)
    for (long token = 0; token < tokens; ++token)
        for (long i = 0; i < width; i += kLanes) {
            const long first = token * 2 * width + i, second = first + width;
            const V gate = load(pair + first), up = load(pair + second), value = load(gradient + token * width + i);
            const V share = logistic(gate);
            store(below + first, value * up * share * (1 + gate * (1 - share)));
            store(below + second, value * gate * share);
        }
}

}  // namespace

#define EXPORT_DECODER(S, NAME)                                                                                        \
    EXPORTED void forward_rms_norm_##NAME(const S* rows, const S* weight, double epsilon, S* normed,                   \
                                          Number<S>* reciprocals, long tokens, long width) {                           \
        forward_rms_norm<S>(rows, weight, Number<S>(epsilon), normed, reciprocals, tokens, width);                     \
    }                                                                                                                  \
    EXPORTED void backward_rms_norm_##NAME(const S* gradient, const S* rows, const S* weight,                          \
                                           const Number<S>* reciprocals, S* below, int onto, long tokens,              \
                                           long width) {                                                               \
        backward_rms_norm<S>(gradient, rows, weight, reciprocals, below, onto, tokens, width);                         \
    }                                                                                                                  \
    EXPORTED void turn_##NAME(S* heads, long stride, const Number<S>* cosines, const Number<S>* sines,                 \
                              double direction, long tokens, long count, long size) {                                  \
        turn<S>(heads, stride, cosines, sines, Number<S>(direction), tokens, count, size);                             \
    }                                                                                                                  \
    EXPORTED void forward_gate_##NAME(const S* pair, S* active, long tokens, long width) {                             \
        forward_gate<S>(pair, active, tokens, width);                                                                  \
    }                                                                                                                  \
    EXPORTED void backward_gate_##NAME(const S* gradient, const S* pair, S* below, long tokens, long width) {          \
        backward_gate<S>(gradient, pair, below, tokens, width);                                                        \
    }

EXPORT_FOR_EACH_TYPE(EXPORT_DECODER)
