"""Code that runs inside the Truss server, locally and on a host.

request_body         body bytes → InferenceRequest; the Truss server calls it to parse a request
concurrency_limiter  how many clips may run and wait, and when to try again
clip_job             one clip in progress: its events, waited for or streamed
clip_service         runs the clips of many clients on one checkpoint
work                 what the service needs of a checkpoint's clips: text_clips, unconditional_clips
loading              from the environment to the service
metrics              Prometheus metrics
responses            HTTP responses for clips and errors

They import nothing that the hosted image lacks, such as httpx and truss.
"""
