"""Training: from a data set to a checkpoint. A YAML file (`config`) describes one run.

trainer          the training loop, the same for every recipe
recipes          what can be trained, one module per task
config           the configuration: sections, tasks, and the loader that checks it
networks         builds networks, loads weights, trains tokenizers
adapters         LoRA and textual inversion
losses           diffusion loss, and the discriminator of the autoencoder
audio_encodings  encodings of audio, for audio-conditional models
replay           mixes old examples among the new ones
learning_rate    warm-up, constant part, cosine decay
ema              exponential moving average of the weights
state            training states on disk, to resume from
tracking         TensorBoard curves, sample grids and audio during a run
export           writes checkpoints and adapters
model_card       the model card, README.md
"""
