"""Devices, threads, processes and caches of the running program.

- `cache`: tensors by key, limited in bytes, shared by threads.
- `cuda_graphs`: UNet calls as CUDA graphs.
- `devices`: selecting the torch device, and memory settings of the process.
- `processes`: a pool of worker processes with one thread each.
- `threads`: limiting a process to one OpenMP thread team.
"""
