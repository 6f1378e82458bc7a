"""Diffusion as pure functions: noise schedule, training objective, guidance, DDIM sampler."""
