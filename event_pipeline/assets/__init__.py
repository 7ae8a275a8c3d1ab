"""The assets, layer by layer."""
