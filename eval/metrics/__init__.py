"""The metrics: pure float64 numerics on features that were extracted elsewhere."""
