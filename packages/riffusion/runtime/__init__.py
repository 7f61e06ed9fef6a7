"""Devices, threads, processes and caches of the running program.

- `cache`: tensors by key, limited in bytes, shared by threads.
- `child_process`: a module in a process of its own that answers messages.
- `cuda_graphs`: UNet calls as CUDA graphs.
- `devices`: selecting the torch device, and how it computes.
- `freed_memory`: what the process does with memory that it has freed.
- `gpu`: checks that the GPU can be used, where one is required.
- `memory`: recovering from a call that ran out of memory.
- `messages`: messages between a process and its child.
- `pace`: something that is done now and then.
- `processes`: a pool of worker processes with one thread each.
- `processors`: the number of processors that this process may use.
- `shared_work`: threads that share work with the calling one.
- `threads`: limiting a process to one OpenMP thread team.
"""
