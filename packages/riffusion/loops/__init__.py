"""Loops of our own, composed and synthesised by code; seed images of them, or of any audio."""
