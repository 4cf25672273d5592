"""The networks that the frozen probe is compared with: DeepLabV1, DeepLabV3+ and SegFormer on any encoder.

A baseline is an encoder and a decoder that together give one vector for each cell of a grid, and the linear head of the
probe as their last 1x1 convolution. So labels, sampling, views, resuming and prediction are the same code. What differs
from the published networks, for all three alike: the decoder is normalised over groups of channels [1]_ instead of over
the batch, so that no image depends on those that share its batch or its process, and the encoder keeps the statistics
of its batch normalisations.

References
----------
.. [1] Wu & He, "Group Normalization", ECCV 2018, arXiv 1803.08494.
"""
