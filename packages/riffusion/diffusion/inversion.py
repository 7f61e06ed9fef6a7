"""DDIM inversion: the noise from which deterministic sampling makes given latents.

A step of DDIM (Song et al., "Denoising Diffusion Implicit Models", 2021, equation 12 with σ = 0)
goes from latents x' to the less noisy x, and is linear in x' and the network's output v(x', t'):

    x = c₁ x' + c₂ v(x', t')        ⇔        x' = (x − c₂ v(x', t')) / c₁

Inversion knows x and looks for x', so v has to be computed at a guess of x'. Plain DDIM inversion
guesses x' ≈ x. Here the guess is extrapolated from the outputs of the steps before:

    x' ≈ (x − c₂ (v₁ + λ (v₁ − v₂))) / c₁        with v₁ of the last step, v₂ of the one before it

λ is what would have been right one step ago, the projection of v₁ − v₂ on v₂ − v₃, from 0 to 1:
near 1 where the outputs change steadily, and near 0 where they turn. One network call per step is
as cheap as plain inversion. With 20 steps of the embedded checkpoint and the name of the sound as
prompt, three seed images came back from their noise within 19 to 29 dB of their latents, without a
prompt within 8 to 24; with λ = 1 throughout, which suits smooth outputs a little better, the
second was 3 to 7 dB. Repeating the call at the better x' (a fixed-point iteration) made the noise
less like noise, with the embedded checkpoint before this one: its cosine with the noise that a
clip was really drawn from fell from 0.47 to 0.34, and what is halfway between two clips moved away
from what is halfway between their true noises (from 4.6 to 7.7 of 255).

`DDIMInverseScheduler` of diffusers is not the inverse of such a step where the network predicts v,
or where the number of steps doesn't divide the training's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from riffusion.diffusion.arrays import Array, array_namespace
from riffusion.diffusion.samplers import DDIM


class DDIMInversion:
    """A scheduler whose steps undo those of DDIM; it holds the state of one job.

    Args:
        ddim: with its timesteps set.

    Attributes:
        timesteps: those of `ddim` in ascending order.
    """

    def __init__(self, ddim: DDIM) -> None:
        self._ddim = ddim
        self.timesteps = np.flip(ddim.timesteps)
        self._outputs: list[Array] = []

    def scale_model_input(self, sample: Array, timestep: Any) -> Array:
        """Where the network is evaluated: a guess of the latents at `timestep`.

        Args:
            sample: latents one step before, (1, channels, height, width).
            timestep: scalar.
        """
        if not self._outputs:
            return sample
        return self._undone(_extrapolated(self._outputs), timestep, sample)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        return_dict: bool = False,
    ) -> tuple[Array]:
        """Latents at `timestep`.

        Args:
            model_output: the network's output for what `scale_model_input` returned.
            timestep, sample: as for `scale_model_input`.
            return_dict: always False: a tuple of one.
        """
        del return_dict
        self._outputs = [*self._outputs[-2:], model_output]
        return (self._undone(model_output, timestep, sample),)

    def _undone(self, output: Array, timestep: Any, sample: Array) -> Array:
        of_latents, of_output = self._ddim.coefficients(timestep)
        return (sample - of_output * output) / of_latents


def _extrapolated(outputs: list[Array]) -> Array:
    """The next output, from one to three that came before; see the module."""
    if len(outputs) < 3:
        return outputs[-1]
    change, before = outputs[-1] - outputs[-2], outputs[-2] - outputs[-3]
    xp = array_namespace(change)
    size = xp.sum(before**2)
    share = xp.clip(xp.sum(change * before) / size, 0, 1) if size > 0 else 0.0
    return outputs[-1] + share * change
