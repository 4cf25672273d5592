"""Training the backbone together with the head: what freezing is compared with.

Everything but the tokens is that of the frozen probe: the order of images, the views, the pixels that the loss reads,
the terms and the schedule. The network stays in eval mode, so that a batch normalisation keeps the statistics of its
pre-training, while its scale and shift are trained; no image then depends on those that share its batch.
"""
