"""Builds data sets of captioned spectrogram images from folders of audio.

formats         image sizes and spectrogram parameters: presets and changes to them
options         every option that affects the data set
sources         the audio files: numbering, train/validation split, fingerprint
captions, tags  captions from metadata files, file names and audio tags
beat_tracking   beat times of a recording
slicing         where a recording is cut, and which slices are left out
images          recording → PNG images of its slices
worker          processes one file in a process pool: images, then a record that it is done
records         jobs, and the records of finished files
report          counts and failures of a whole build
builder, card   the whole build: options, processes, resuming, metadata, data-set card
"""
