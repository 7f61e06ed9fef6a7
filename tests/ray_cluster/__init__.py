"""Several nodes on one machine: `make test-ray`, minutes.

Ray Serve with the embedded checkpoint, data sets built by Ray Data, and training on two machines.
Not among the other tests: Ray Serve needs an environment of its own, and most of the time is
waiting.
"""
