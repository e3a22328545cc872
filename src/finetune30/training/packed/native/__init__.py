"""The packed path's operations, compiled at installation; optional.

Each `.cpp` holds one part of a model, and the module of that name puts it behind the packed path's protocol:
`products.cpp` multiplies with frozen weights (`linear`), `cross_entropy.cpp` makes losses of logits (`vocabulary`), the
others do what lies between two products. `library` loads them. Without them (no compiler, another system, sizes that
they do not take) PyTorch's operators do the same.
"""
