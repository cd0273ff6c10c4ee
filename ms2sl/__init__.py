"""MS2SL: spoken language (text or speech) in, continuous sign-language keypoints out."""

__version__ = "0.1.0"
