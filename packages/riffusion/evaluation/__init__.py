"""Scores for a checkpoint: what it draws, against held-out clips of a labelled data set.

settings                what is measured, and how
evaluate                all parts in order: checkpoint and data set in, report out

images                an image as the ear has it, and shrunk
reference_clips         the data set's clips, by label
prompts, drawing        captions asked for, and images drawn for them

classifier              names the sound of an image; classifier_training, classifier_files
adherence               is what was asked for heard?
frechet, diversity      are images spread as real ones are?
clap                    the same distance between sounds, with an outside model
memorization            does it copy training clips?
reconstruction          what the VAE loses
onsets, chroma          beat and pitch, read off an image
img2img_agreement       what img2img keeps of a clip, and what it changes
interpolation_smoothness    are there jumps on the way from one prompt to another?

contact_sheets, plots, report_page, score_table, report      what people look at
"""
