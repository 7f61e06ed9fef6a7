"""Losses with modules of their own.

diffusion      noise, targets and weights of a diffusion model
consistency    the path of a teacher, and the ends that a student jumps to
discriminator  patch discriminator and adversarial losses of the autoencoder
"""
