"""How fast the model is on this machine: `dynamicrafter bench` (docs/performance.md)."""
