"""Losses with modules of their own.

diffusion      noise, targets and weights of a diffusion model
discriminator  patch discriminator and adversarial losses of the autoencoder
"""
