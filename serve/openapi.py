"""What OpenAPI says of requests and answers, beyond what their types say."""

import json

from serve import problems
from serve.formats import FORMATS
from serve.problems import ProblemDetails
from serve.request_parsing import FORM, JSON, SpeechForm, TextRequest

LINES = "application/x-ndjson"
SAID = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": TextRequest.model_json_schema(), "example": {"text": "hello", "seed": 1, "signed_language": "ase"}},
            FORM: {"schema": SpeechForm.model_json_schema()},
        },
    }
}
REMARKS = "Remarks"  # header
SIGNED = {
    "description": "The signing, in the format of the Accept header.",
    "content": {kind: {} for kind in FORMATS},
    "headers": {
        REMARKS: {
            "description": "What was odd: about the recording, or that the model does not sign in the language that was asked for.",
            "schema": {"type": "string"},
        }
    },
}
REFUSED = {
    status: {"model": ProblemDetails, "description": description, "content": {problems.MEDIA_TYPE: {}}}
    for status, description in {
        400: "The form cannot be read.",
        401: "An API key is needed.",
        406: "No format that is accepted can be made.",
        408: "It stopped coming.",
        413: "The request is too large.",
        415: "It is neither JSON nor a form.",
        422: "It is malformed, beyond the limits, or the model cannot say it.",
        429: "Too many requests at once; Retry-After says when to come again.",
        503: "The samplers are restarting; Retry-After says when to come again.",
        504: "It took too long.",
    }.items()
}
LINE_EXAMPLE = "\n".join(
    json.dumps(line)
    for line in (
        {"type": "start", "fps": 12.5, "skeleton": "holistic-49x2", "dims": 2, "seen": [True]},
        {"type": "frames", "first": 0, "frames": [[[0.012, -0.613]]]},
        {"type": "end", "n_frames": 1, "seconds": 0.08},
    )
)
