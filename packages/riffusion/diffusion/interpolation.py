"""Interpolation between two ends: linear for embeddings and scales, spherical for noise.

The straight line between two samples of Gaussian noise passes closer to the origin than either end:
in the middle the variance is halved, and a diffusion model, trained on unit variance, makes poor
images from it. The great circle keeps the norm. With the angle θ between the ends (Shoemake,
"Animating rotation with quaternion curves", 1985, section 3.3):

    slerp(t) = (sin((1 − t) θ) · a + sin(t θ) · b) / sin θ
"""

import math

from riffusion.diffusion.arrays import Array, array_namespace

_NEARLY_PARALLEL = 0.9995
"""Cosine above which sin θ is too small to divide by, and the line is close to the circle."""


def lerp(start: float, end: float, alpha: float) -> float:
    """Linear interpolation from `start` (alpha 0) to `end` (alpha 1)."""
    return start * (1.0 - alpha) + end * alpha


def slerp(alpha: float, start: Array, end: Array) -> Array:
    """Spherical interpolation from `start` (alpha 0) to `end` (alpha 1), each as one long vector.

    Args:
        alpha: position, usually in [0, 1].
        start, end: tensors or arrays of one shape. Parallel or zero ends are interpolated linearly.

    Returns:
        The same type, shape and dtype as `start`.
    """
    xp = array_namespace(start, end)
    a, b = (xp.reshape(xp.astype(x, xp.float64), (-1,)) for x in (start, end))
    norms = math.sqrt(_product(a, a) * _product(b, b))
    cosine = _product(a, b) / norms if norms > 0 else 1.0
    if abs(cosine) > _NEARLY_PARALLEL:
        weight_a, weight_b = 1 - alpha, alpha
    else:
        theta = math.acos(cosine)
        weight_a = math.sin((1 - alpha) * theta) / math.sin(theta)
        weight_b = math.sin(alpha * theta) / math.sin(theta)
    return weight_a * start + weight_b * end


def _product(a: Array, b: Array) -> float:
    """The scalar product of two vectors.

    For NumPy's `a @ b` OpenBLAS wakes its threads from 10,000 elements on. They wait actively for
    10 to 20 ms before they sleep again, and slow the network's threads, which are called next.
    """
    return float(array_namespace(a, b).sum(a * b))
