"""Weights of the consistency losses and of the geometry of poses; the others keep their recipe's value."""

SPACE = {
    "losses": {
        "joint_mse": {"loguniform": [2.0, 100.0]},
        "contrastive": {"loguniform": [0.01, 1.0]},
        "cycle": {"loguniform": [0.01, 1.0]},
        "frame_contrastive": {"loguniform": [0.05, 5.0]},
        "cross_modal": {"loguniform": [0.05, 5.0]},
    }
}
