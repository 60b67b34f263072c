"""Templates, escaping, tokenizing, truncation, cuts and readouts: from a pair as it came to integers.

`load_encoder` puts a model's `PairEncoder` together; `TokenizerPool` runs it on worker threads.
"""
