"""Parameter-efficient fine-tuning.

lora               low-rank updates beside frozen weights
textual_inversion  new tokens with learned embeddings
frozen_weights     leaves frozen weights out of training states
"""
