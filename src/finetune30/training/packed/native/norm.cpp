// Dropout, residual, layer norm (Ba et al. 2016).

#include "blocks.h"

namespace {

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

}  // namespace

#define EXPORT_NORM(S, NAME)                                                                                           \
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
    }

EXPORT_FOR_EACH_TYPE(EXPORT_NORM)
