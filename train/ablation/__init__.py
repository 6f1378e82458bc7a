"""A matrix of arms and seeds: trained, animated and judged by the plain commands, then compared.

    cells      an arm under a seed: its commands, one after the other, each resumable
    launchers  the cells of a matrix, several at once on this machine or as jobs of a cluster
    paired     validation losses of two arms, clip by clip and seed by seed
    collect    what the run folders say, as `dynamicrafter/ablation.py` holds it
    matrix     the command

What was found lies in `ablation.json`; `dynamicrafter eval ablation` makes tables of it.
"""
