"""Shape of the model, and the learning rate that suits it."""

SPACE = {
    "model": {
        "width": {"choice": [96, 192, 384]},
        "encoder_layers": {"choice": [1, 2, 4]},
        "denoiser_layers": {"choice": [2, 4, 8]},
        "patch": {"choice": [1, 2, 4]},
        "embedding": {"choice": [64, 128, 256]},
    },
    "training": {"learning_rate": {"loguniform": [3e-4, 4e-3]}},
}
