"""What a stage costs before any GPU is touched: tensors, FLOP, memory, and the settings that fit.

`dynamicrafter plan train` prints all of it; the trainer itself asks for two things.
"""

from train.plan.advice import advice_for_oom, flops_per_clip

__all__ = ["advice_for_oom", "flops_per_clip"]
