"""Purity of motion captions."""
