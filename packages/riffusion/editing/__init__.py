"""Edits of recordings of any length: audio in, audio out, without file names or a command line.

With a checkpoint:

- `repainting`, `restyling`, `extending`: a section, the whole, or more of it generated from text.
- `varying`: between two recordings, and variations of one.
- `pieces`: the clips between two recordings as one piece.
- `own_noise`: recordings to their own noise, by DDIM inversion, and back.
- `following`: a melody played by the sound that a text asks for.
- `remaking`: how a section is made: latents, a canvas, and sound.
- `surroundings`: what the checkpoint sees around it.
- `regions`: a section of a recording, or a band of pitches within it.
- `model_axis`: where the model's frames lie in a recording.
- `canvas_images`: mel amplitudes to latents and back.
- `rendering`: mel amplitudes to sound that continues what is beside it.
- `continuation`: a recording as if its bars repeated.
- `spooled`: new sound in a temporary file.
- `balance`: the balance of a recording's channels.
- `modes`: what each mode of a request does to a recording.
- `editor`: requests that edit a recording, to their answers.
- `spectrogram_images`: the image of a part of a recording.

Without one, and without torch:

- `splicing`: the edited recording, with everything outside of the new parts kept bit for bit.
- `stems`: taking a recording apart into stems that add up to it bit for bit, and remixing them.
- `difference`: what differs between two recordings, as integers.
- `separation`: drums, bass and harmonic sounds by their shapes in the spectrogram.
- `sound`: what edits need of a recording.
- `limits`: the largest recordings that a server edits.
- `progress`: progress of work that is done part by part.
- `melody`, `midi`: pitches over time, and those of MIDI files.
- `times`: points in time as people write them.
- `listening`: one pass over a recording, for its beats and its key.
- `attacks`: when notes start, to a few milliseconds.
- `tempo_path`: the tempo over time.
- `metrical_level`: whether the beat is the pulse that was found, or half or twice of it.
- `beat_grid`: the beats of a recording, and its tempo.
- `bars`: the bar of a recording, with which it continues.
- `downbeats`: which beats are the first of a bar.
- `chroma`, `key_finding`: the key of a recording.
- `transposing`: the distance to another key.
- `stretching`: another duration at the same pitch.
- `pitch_shifting`: another pitch at the same duration.
- `retiming`: another tempo, another key.
- `looping`: a perfect loop out of a recording.
"""
