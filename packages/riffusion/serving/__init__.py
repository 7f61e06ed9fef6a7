"""The service around the model: request bodies, admission, the local server and the gateway.

    request_body     body bytes → InferenceRequest; what the Truss server calls to parse a request
    admission        how much work may wait, and when to come back
    clip_service     many callers, one ClipGenerator
    addresses        hosts, ports and URLs of the local servers
    truss_server     the real Truss server as a child process, without Docker
    truss_launcher   what runs inside that child process
    endpoint         client of a local or hosted endpoint
    gateway          the web-facing server in front of an endpoint, made of
      origins          which web pages may use it
      client_limits    how many requests a client may have in a minute, and at once
      connections      how many connections, and for how long one may say nothing
      incoming_body    a body of bounded size and time
      forwarding       a request to the endpoint, and whatever comes back
      shared_answer    one answer for all who ask within a moment
      seed_images    seed images and masks for people to choose from
    serve            both servers together: `riffusion serve`

In the hosted image only the first three are used. Nothing is imported here, so that the image
needs none of what the others import.
"""
