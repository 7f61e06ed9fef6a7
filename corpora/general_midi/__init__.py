"""The corpus that the embedded checkpoint was trained on: loops of General MIDI instruments.

It is composed from patterns and public-domain scores, and played by FluidSynth. It is not part of
the installed package; run it in a checkout of the repository:

    riffusion dataset synthesize DIR

sound, sounds, instruments     the table of sounds: names, ranges, styles
notes, setting                 notes in beats; key, chords, density
textures, melodies, grooves    accompaniments, melodies and drum grooves
idioms, …_idioms, ensembles    how each instrument is played, alone and together
scores                         music21's public-domain scores as tables of notes
facts                          tempo and moods that follow from the notes
composition                    a clip as notes
captions, fillers              captions that are true of a clip
synthesizer                    notes → seamless waveform
images                         waveform → spectrogram image
options                        the options that decide the corpus
rendering                      plays clips in several processes
synthesize, card               writes the data-set folder and its card
"""
