"""The packed path's operations between two matrix products, compiled at installation; optional.

`kernels.cpp` has the operations, `library` loads them, `operations` puts them behind the packed path's protocols.
Without them (no compiler, another system, sizes that they do not take) PyTorch's operators do the same.
"""
