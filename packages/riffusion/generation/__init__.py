"""Making clips from requests.

- `generator`: ClipGenerator: a request → a clip, its image and its audio.
- `input_images`: init images and masks of requests, checked and converted.
- `media`: decoded images and audio that take the place of a request's fields.
- `request_memory`: bounds on the memory that the media of all requests take together.
- `resolved_input`: a request whose media are decoded, and the checks that it passes.
- `response`: a clip → the response of the inference API.
- `seed_library`: seed images and masks by id.
- `walk`: a path through prompts and seeds.
- `jam`: a piece of a given length, made of the clips on a walk.
"""
