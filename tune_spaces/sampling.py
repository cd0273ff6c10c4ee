"""How a trained model is sampled: nothing is trained, ``--trained`` is judged again and again."""

SPACE = {
    "sampling": {
        "steps": {"choice": [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 50]},
        "guidance": {"choice": [1.0, 1.25, 1.5, 2.0, 3.0]},
        "sampler": {"choice": ["ddim", "dpm++"]},
    }
}
