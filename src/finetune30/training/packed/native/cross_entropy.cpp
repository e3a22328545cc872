// Cross entropy of rows of logits, and its gradient in their place.

#include "blocks.h"

namespace {

// losses[i] = log(sum of exp(logits[i])) - logits[i][wanted[i]]; right[i] is 1 where no logit is larger, nor equal and
// before it. With keeps_gradient, logits become softmax minus one at the wanted place.
template <class S>
void cross_entropy(S* logits, const int64_t* wanted, Number<S>* losses, Number<S>* right, int keeps_gradient, long rows,
                   long width) {
    using C = Number<S>;
    using V = Vector<S>;
    constexpr long kStretch = 64 * kLanes;  // sums of so many numbers are added up in double
#pragma omp parallel for schedule(static)
    for (long row = 0; row < rows; ++row) {
        S* of = logits + row * width;
        V highest = load(of);
        for (long i = kLanes; i < width; i += kLanes) highest = larger(highest, load(of + i));
        const C peak = largest(highest);
        double total = 0;
        for (long start = 0; start < width; start += kStretch) {
            V part = {};
            for (long i = start; i < width && i < start + kStretch; i += kLanes) part += exponential(load(of + i) - peak);
            total += sum(part);
        }
        const long place = wanted[row];
        const C chosen = load(of + place / kLanes * kLanes)[place % kLanes];
        bool is_first = chosen == peak;
        for (long i = 0; is_first && i < place; i += kLanes) {
            const V found = load(of + i);
            for (long lane = 0; lane < kLanes && i + lane < place; ++lane) is_first &= found[lane] < peak;
        }
        losses[row] = C(std::log(total)) - (chosen - peak);
        right[row] = is_first;
        if (!keeps_gradient) continue;
        const C share = C(1 / total);
        for (long i = 0; i < width; i += kLanes) {
            V value = exponential(load(of + i) - peak) * share;
            if (place - i >= 0 && place - i < kLanes) value[place - i] -= 1;
            store(of + i, value);
        }
    }
}

}  // namespace

#define EXPORT_CROSS_ENTROPY(S, NAME)                                                                                  \
    EXPORTED void cross_entropy_##NAME(S* logits, const int64_t* wanted, Number<S>* losses, Number<S>* right,          \
                                       int keeps_gradient, long rows, long width) {                                    \
        cross_entropy<S>(logits, wanted, losses, right, keeps_gradient, rows, width);                                  \
    }

EXPORT_FOR_EACH_TYPE(EXPORT_CROSS_ENTROPY)
