"""The servers on this machine, without Docker.

serve            the Truss server and the gateway together: `riffusion serve`
bundle_context   the bundle, and the context that Truss builds from it
installed_bundle completes the bundle of an installed package
truss_server     the real Truss server as a child process
truss_launcher   the main module of that child process
page_filter      keeps web pages away from the Truss server
half_close       HTTP/1.1 for clients that stop sending after the request

Only these modules import truss and uvicorn.
"""
