"""Ray Serve with the embedded checkpoint on two nodes of one machine: `make test-ray`, minutes.

Not among the other tests: Ray needs an environment of its own, and most of the time is waiting.
"""
