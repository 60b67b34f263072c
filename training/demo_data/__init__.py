"""Synthetic seven-wise rankings for the demo reward model: words, questions, defects, generator."""
