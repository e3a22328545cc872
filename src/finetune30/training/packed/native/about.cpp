// What the compiled library says of itself.

#include "vectors.h"

// Raised with every change of a signature or of a result; library.py knows the same number.
EXPORTED int kernels_version() { return 7; }

EXPORTED const char* kernels_compiler() { return __VERSION__; }
