// GELU (Hendrycks & Gimpel 2016): x times the normal distribution function of x.

#include "blocks.h"

namespace {

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

}  // namespace

#define EXPORT_GELU(S, NAME)                                                                                           \
    EXPORTED void forward_gelu_##NAME(S* inner, S* active, int keeps_derivative, long count) {                         \
        forward_gelu<S>(inner, active, keeps_derivative, count);                                                       \
    }

EXPORT_FOR_EACH_TYPE(EXPORT_GELU)
