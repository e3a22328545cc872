"""Operations of Llama-like models as kernels for NVIDIA's GPUs, in Triton: one a file, and where they are put.

Only `choosing` may be imported without Triton.
"""
