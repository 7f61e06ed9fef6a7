"""Exporting a checkpoint: its networks as ONNX graphs, which run without torch.

parts             the four parts, as functions of named tensors, with random inputs
attention         self-attention in blocks of queries, which takes little memory
graph             traces a part: an ONNX graph without weights
weights           references from a graph to the bytes of the checkpoint's safetensors files
rounding          weights in half precision, or as integers of 8 bits
checkpoint_files  copies or writes weights and the checkpoint's other files
checking          runs a graph by onnxruntime, and compares it with torch
images            images of the same seed, before and after rounding
graphs            the graphs of a folder: traced, checked and written with the manifest
calibration       what parts compute with while clips are drawn
quantising        a graph that computes with integers
quantised_parts   quantises a folder's parts, as far as images stay as they were
measuring         time and memory of exported parts, in a process of its own
report            a table of them, with torch's beside
export            puts these together: a folder, or graphs beside a checkpoint
"""
