"""The servers on this machine, without Docker.

serve           the Truss server and the gateway together: `riffusion serve`
truss_server    the real Truss server as a child process
truss_launcher  the main module of that child process

Only these modules import truss and uvicorn.
"""
