"""Purity of motion captions: word lists of our own, a score, a gate, and the removal of words.

`score` says what the words of a caption are, `gate` whether a motion caption may stand, `strip`
what is left of one without the words that the gate minds. The rule book is tests/golden/purity.
"""
