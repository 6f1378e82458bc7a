"""The layers of the feature networks: torch modules, imported once one is loaded.

They know nothing of the modules that describe the networks, which hand them their sizes.
"""
