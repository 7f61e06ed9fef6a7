"""Data sets of captioned spectrogram images, and training examples from them.

folder           the data-set folder on disk: rows, images, metadata
card             what the cards of all data sets of images have in common
from_audio       folder of audio → data set
config           the `data` section of a configuration
image_size       size of the training images, their spectrogram parameters, checks for networks
examples         images as training examples (pixels)
sampler          resumable order of examples, and the loader that follows it
latents          images as VAE latents, encoded once and cached
circular_shifts  latents of loops, rotated in time at random
packed_latents   file format for latents at one byte per value
encode           data set of images → data set of packed latents
shards           format of tar files of images or latents
shard_writer     data-set folder → tar files
shard_folder     tar files as a data set: on disk, or streamed from a URL
shard_storage    reads these files, over a network several times if need be
stream_order     resumable order of streamed examples
order            batches in the order that suits a data set
tensor_files     writes tensors as safetensors, atomically
"""
