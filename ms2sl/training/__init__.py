"""The training loop, its state, checkpoints."""
