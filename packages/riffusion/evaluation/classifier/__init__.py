"""The classifier that predicts the label of an image.

network     the network, and `Classifier`: predictions and features
training    training on the clips of a data set
files       saving and loading
"""
