"""Weights of the consistency losses and of the geometry of poses; the others keep their recipe's value."""

SPACE = {
    "losses": {
        "position": {"loguniform": [2.0, 100.0]},
        "contrastive": {"loguniform": [0.01, 1.0]},
        "cycle": {"loguniform": [0.01, 1.0]},
        "agreement": {"loguniform": [0.05, 5.0]},
        "pseudo": {"loguniform": [0.05, 5.0]},
    }
}
