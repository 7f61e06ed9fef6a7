"""Mel amplitudes → waveform.

- `inverter`: the iteration that finds a waveform with given mel amplitudes.
- `reduced_stft`: the short-time Fourier transform at a reduced sample rate, and its inverse.
- `initial_phase`: initial phases, estimated from the peaks of the magnitudes.
"""
