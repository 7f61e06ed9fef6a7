"""Benchmarks: each module measures one thing, prints a table and saves it in results/.

report                 runs them, and writes docs/benchmarks.md from their results
results                saves and loads results
clip                   one clip through the Truss server
concurrency            many clients at once, with batching and without
cold_start             loading the full-size checkpoint
full_size              the full-size checkpoint on a CUDA GPU
steps                  quality by number of steps, scheduler and preset
inversion              mel to waveform, compared with torchaudio
published_inversion    the same, compared with the published algorithm
audio_decoding         decoding audio in another process, also beside a hostile file
retiming               recordings at another tempo and in another key, and loops out of them
dataset_build          audio to images, compared with librosa and Pillow
listeners              maximum number of jams per GPU, computed from data sheets
sd15_shape, signals, ports    a full-size checkpoint, test signals, free ports
"""
