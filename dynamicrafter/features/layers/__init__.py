"""The layers of the feature networks: torch modules, imported once one is loaded."""
