"""Training: from a folder of songs, or from scores, to a checkpoint and its scores.

dataset_build, corpus       data sets from audio, and from scores and patterns by FluidSynth
recipes                     what can be trained, a file each
evaluation                  scores of a checkpoint, and the page that shows them

The configuration
    config                  reads and checks it; config_sections, config_tasks hold its keys
    fixed_options           options that follow from something else

What is learned from
    dataset_folder          images with captions, as they lie on disk
    image_size, image_meaning    whether networks can take them, and what they sound like
    examples, replay        the order that follows from the seed and the step; old among new ones
    latents, latent_rolls   images as latents, encoded once; loops begin anywhere
    packed_latents, dataset_encode   latents that travel to another machine
    encodings, audio_encoder         how a clip sounds, for audio-conditional models

Networks
    networks                made from a configuration, started from a checkpoint
    tokenizer, new_words    words from captions; words that a checkpoint doesn't know
    lora, frozen_weights    low-rank updates; what of a network is left out of a state
    diffusion_loss          noise, targets, weights
    latent_scaling          latents of unit deviation

The run
    trainer                 the loop; learning_rate, averaged_weights
    training_state          states to go on from
    tracking                curves, images and sound on the way

The result
    checkpoint_writer, adapter_files, audio_conditional_pipeline, model_card
    folder_replacement      whole or not at all
"""
