"""Metrics under named protocols, and the report about a chain of runs."""
