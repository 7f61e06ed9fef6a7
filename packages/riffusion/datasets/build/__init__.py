"""Folders of audio → data sets of captioned spectrogram images.

formats         sizes and parameters of images: presets, and what is changed about them
options         what decides a data set
sources         the files: numbers, splits, and what identifies them
captions, tags  captions from metadata files, tags, and names
beat_tracking   where the beats of a recording are
slicing         where a recording is cut, and which parts of it are left out
images        a file's slices → PNG
worker          one file in a process of a pool: images, then a record that it is done
records         what is to be done about a file, and what came of it
build, card     all files: options, processes, resuming, metadata, card
"""
