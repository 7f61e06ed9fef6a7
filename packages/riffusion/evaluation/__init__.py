"""Scores of a checkpoint: its images compared with held-out clips of a labelled data set.

settings           what is measured, and how
evaluate           the pipeline of stages: checkpoint and data set in, report out
stages             the stages, with what they take and return
listening_stage    the stage in which an independent tagger listens
audio              planes to audio, for metrics that listen
disk_cache         remembers what was heard in real clips
images             loudness planes of images, and small copies
reference_clips    real clips of the data set, by label
prompts            captions to draw
sampler            draws images with the checkpoint
progress           progress of long jobs
tagger/            predicts tags from audio, trained on other music
classifier/        predicts the label of an image
metrics/           the scores
report/            the report: JSON, Markdown, plots and contact sheets
"""
