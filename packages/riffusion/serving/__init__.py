"""The servers around the model.

    model/        code inside the Truss server: request bodies, concurrency, clips, metrics
    addresses     hosts, ports, paths and URLs
    retries       HTTP transports that send a request again while the endpoint is busy
    answer_body   body of an answer, within limits on its size
    answer_limit  limit on the time of a whole answer
    client        client of a local or hosted endpoint
    gateway/      the web-facing server in front of an endpoint
    local/        both servers on this machine, without Docker: `riffusion serve`
    ray/          the same service as replicas on a Ray Serve cluster

A module imports only from those above it. The hosted image uses `model/` alone; nothing is imported
here, so it needs none of the packages that the others need.
"""
