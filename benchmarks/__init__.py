"""Measurements: ratios side by side in one run, medians over interleaved repeats. The product imports none of it."""
