"""Search space over the path from pose to noise and the learning rate that suits it."""

from ray import tune

SPACE = {
    "model": {"schedule": tune.grid_search(["linear", "cosine"])},
    "training": {"learning_rate": tune.loguniform(5e-4, 4e-3)},
}
