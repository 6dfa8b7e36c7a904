"""Checkpoints of runs, single files of weights, and where a run starts from."""
