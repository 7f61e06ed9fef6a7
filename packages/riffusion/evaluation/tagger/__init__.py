"""Music taggers that were trained on other music, as an independent ear.

`Tagger` predicts tags such as "violin" or "techno" from audio, and gives features for the Fréchet
distance. The weights are those of the `musicnn` distribution (ISC licence), trained on
MagnaTagATune and on the Million Song Dataset:

    Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging",
    ISMIR late-breaking session, 2019.

tagger              audio → log-mel patches → tags and features
networks            the two architectures, in torch
tensor_bundle       reads TensorFlow's checkpoint format without TensorFlow
"""

from riffusion.evaluation.tagger.tagger import TAGGERS, Heard, Tagger

__all__ = ["TAGGERS", "Heard", "Tagger"]
