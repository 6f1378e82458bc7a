"""What the frozen encoders make of clips and captions, and how it is kept for later runs.

    frozen     moments of frames and states of prompts, which do not depend on the rest of a batch
    fill       what a stage will need is encoded before its first step, if it is not there yet

The files themselves are `train/data/encoded.py`: loader processes read them, without a model.
"""
