"""Data sets that this repository can synthesize. They are not part of the installed package."""
