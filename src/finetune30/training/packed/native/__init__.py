"""The packed path's operations, compiled at installation; optional.

`products.cpp` multiplies with frozen weights, `kernels.cpp` has what lies between two products; `library` loads them,
`linear`, `operations` and `masks` put them behind the packed path's protocols.
Without them (no compiler, another system, sizes that they do not take) PyTorch's operators do the same.
"""
