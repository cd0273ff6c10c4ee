"""MS2SL (arXiv 2407.12842): sequence diffusion with one embedding space for text, speech and sign."""
