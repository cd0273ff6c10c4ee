"""Search space over the weights of the consistency losses; the others keep their recipe's value."""

from ray import tune

SPACE = {
    "losses": {
        "contrastive": tune.loguniform(0.01, 1.0),
        "cycle": tune.loguniform(0.01, 1.0),
        "agreement": tune.loguniform(0.05, 5.0),
        "pseudo": tune.loguniform(0.05, 5.0),
    }
}
