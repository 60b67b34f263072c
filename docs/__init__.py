"""Documentation, and the generator that keeps its blocks true: `python -m docs.generate`."""
