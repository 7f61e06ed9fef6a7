"""The scores of an evaluation; each module has a dataclass of scores and a function that makes it.

listening                   what an independent tagger hears, and how harmonic melodic sounds are
hearing                     listens to clips on all processors, and remembers real ones
harmonicity                 share of energy at multiples of the tracked pitch
adherence                   accuracy of the classifier on drawn clips, by label and caption template
frechet                     Fréchet distance between the features of drawn and real clips
diversity                   mean distance between clips of one label
clap                        audio embeddings of CLAP, for the Fréchet distance
memorization                nearest training clip of each drawn clip
reconstruction              error of the VAE
sharpness                   gradients over time and frequency
onsets, chroma              beat and pitch of an image, and their correlation between two
img2img_agreement           what img2img keeps and changes, by denoising strength
interpolation_smoothness    step sizes and plausibility between two prompts
"""
