"""The pictures and clips of the README, the about page and the docs, made by a checkpoint.

    python -m scripts.media [--checkpoint FOLDER] [--output FOLDER] [--only readme,about]

maker           draws clips with the loaded checkpoint, and writes pictures and audio files
readme          the clip that the README begins with
about_page      the pictures and clips of web/about.html
real_clips      held-out clips of the corpus, which the page of sounds compares with
sounds_page     docs/sounds.md: every sound, real and drawn
steps_plot      docs/images/steps.png, from the benchmark of steps
"""
