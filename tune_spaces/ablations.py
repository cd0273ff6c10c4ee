"""MS2SL with one part changed: what each part is worth. ``jobs.ablate`` judges the same ones more closely."""

KIND = "ms2sl"  # the system
WITHOUT_ECL = {"losses": dict.fromkeys(("contrastive", "cycle", "frame_contrastive", "cross_modal"), 0.0)}
FULL = "full"

SPACE: dict[str, dict[str, dict]] = {
    "variants": {
        FULL: {},
        "text only": {"mask": {"speech": 1.0}},
        "speech only": {"mask": {"text": 1.0}},
        "without diffusion": {"model": {"schedule": "none", "prediction_type": "sample"}},
        "cosine diffusion": {"model": {"schedule": "cosine"}},
        "without ECL": WITHOUT_ECL,
        "without cycle": {"losses": {"cycle": 0.0}},
        "without contrastive": {"losses": {"contrastive": 0.0}},
        "half lack speech": {"mask": {"speech": 0.5}},
        "half lack speech without ECL": {"mask": {"speech": 0.5}} | WITHOUT_ECL,
        "80 % lack speech": {"mask": {"speech": 0.8}},
        "80 % lack speech without ECL": {"mask": {"speech": 0.8}} | WITHOUT_ECL,
    }
}
