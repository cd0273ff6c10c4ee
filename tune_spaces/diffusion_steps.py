"""How to diffuse: the path and what is predicted, both in training, and how the model is sampled."""

SPACE = {
    "model": {"schedule": {"choice": ["linear", "cosine"]}, "prediction_type": {"choice": ["sample", "v_prediction"]}},
    "sampling": {
        "steps": {"choice": [1, 2, 4, 8, 16]},
        "guidance": {"uniform": [1.0, 3.0]},
        "sampler": {"choice": ["ddim", "dpm++"]},
    },
}
