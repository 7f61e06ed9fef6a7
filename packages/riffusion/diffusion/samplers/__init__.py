"""Samplers over arrays of NumPy or PyTorch.

Each has the interface of a diffusers scheduler, as far as a job uses it: `set_timesteps`,
`timesteps`, `scale_model_input`, `step`, `add_noise`; and gives what diffusers' gives, to rounding.
Scalars are Python's numbers, so that no GPU is waited for.

sampler      what the samplers have in common
ddim         DDIM
pndm         PNDM without its Runge-Kutta steps, which is Stable Diffusion's default
dpm_solver   DPM-Solver++
consistency  latent consistency, for distilled checkpoints
"""

from riffusion.diffusion.samplers.consistency import Consistency
from riffusion.diffusion.samplers.ddim import DDIM
from riffusion.diffusion.samplers.dpm_solver import DPMSolver
from riffusion.diffusion.samplers.pndm import PNDM
from riffusion.diffusion.samplers.sampler import Sampler

__all__ = ["DDIM", "PNDM", "SAMPLERS", "Consistency", "DPMSolver", "Sampler"]

SAMPLERS: dict[str, type[Sampler]] = {
    "DDIMScheduler": DDIM,
    "DPMSolverMultistepScheduler": DPMSolver,
    "LCMScheduler": Consistency,
    "PNDMScheduler": PNDM,
}
"""By the name of diffusers' class."""
