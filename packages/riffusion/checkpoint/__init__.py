"""Checkpoints: from a name to the networks of a Stable Diffusion 1.x model.

source        where a checkpoint comes from: parsing paths and hub ids, and the search order
hub           downloads a hub id into the local cache
distillation  what a distilled checkpoint can do
files         which files loading needs, and how to read JSON and weights safely
kinds         what weights are that aren't a checkpoint
folder        reads a diffusers folder
single_file   reads a `.safetensors` or `.ckpt` file in the original layout
networks      builds the networks, tokenizer and scheduler, and checks that they fit
loader        puts these together: `load_components`
"""
