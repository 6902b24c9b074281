"""The operations that are more than an expression, for Triton. Importing this needs triton, so only kernels do it.

Triton's own tanh, expm1 and log1p are NVIDIA library functions, which its interpreter does not support; these are not.
"""

# mypy: ignore-errors

import triton
import triton.language as tl


@triton.jit
def v_tanh(x):
    """To 2 ulp also near 0, where a quotient of exponentials cancels: the odd rational function of Eigen's ptanh.

    At its cut-off it exceeds 1 by more than its rounding error: a saturated unit is exactly 1, and has no slope.
    """
    x = tl.where(x > 9.7, 9.7, x)
    x = tl.where(x < -9.7, -9.7, x)
    s = x * x
    p = -2.76076847742355e-16
    p = p * s + 2.00018790482477e-13
    p = p * s + -8.60467152213735e-11
    p = p * s + 5.12229709037114e-08
    p = p * s + 1.48572235717979e-05
    p = p * s + 6.37261928875436e-04
    p = p * s + 4.89352455891786e-03
    q = 1.19825839466702e-06
    q = q * s + 1.18534705686654e-04
    q = q * s + 2.26843463243900e-03
    q = q * s + 4.89352518554385e-03
    y = x * p / q
    y = tl.where(y > 1.0, 1.0, y)
    return tl.where(y < -1.0, -1.0, y)


@triton.jit
def v_log1p(x):
    """log(1 + x) without its rounding near 0 (Kahan): log(u) x / (u - 1) with u = 1 + x rounded."""
    u = 1.0 + x
    d = u - 1.0
    return tl.where(d == 0.0, x, tl.log(u) * x / tl.where(d == 0.0, 1.0, d))
