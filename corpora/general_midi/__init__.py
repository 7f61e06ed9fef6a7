"""The corpus behind the embedded checkpoint: scores and patterns, played on a soundfont.

sound, sounds, instruments     the table of sounds: names, ranges, styles
notes, setting                 what is played: notes in beats; key, chords, density
textures, melodies, grooves    accompaniments, tunes and drum grooves
idioms, …_idioms, ensembles    how each instrument is played, alone and together
scores                         music21's public-domain scores as tables of notes
facts, composition             what may be said of a loop; a clip out of all this
captions, fillers              many wordings of what is true of a clip
synthesizer, images          notes → seamless waveform → image
options, rendering             what decides the corpus; clips made by several processes
synthesize, card               the data-set folder
"""
