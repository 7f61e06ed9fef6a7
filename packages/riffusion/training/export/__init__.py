"""Writes the results of training.

checkpoint  a pipeline as a diffusers folder
adapter     LoRA and textual inversion as small files for stock diffusers
"""
