"""Exporting a checkpoint: its networks as ONNX graphs, which run without torch.

parts     the four parts, as functions of named tensors, with random inputs of several sizes
graph     traces a part: an ONNX graph without weights
weights   references from a graph to the bytes of the checkpoint's safetensors files
checking  runs a graph by onnxruntime, and compares it with torch
export    puts these together: a folder, or graphs beside a checkpoint
"""
