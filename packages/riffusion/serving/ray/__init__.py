"""The same service on a Ray Serve cluster: several replicas on several machines.

clip_call     one request at a replica; sent again if the replica dies before the client has a byte
ingress       the Truss server's HTTP, in front of the replicas
replica       one `ClipService` as the method of an actor
metrics       one page of Prometheus metrics from those of all replicas
application   both as a Serve application: `riffusion.serving.ray.application:application`

Only `application` imports Ray, whose packages can't be installed beside Truss'.
"""
