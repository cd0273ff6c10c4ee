"""The Ray Serve application: an HTTP API before samplers that hold the model.

serve run serve.app:build model=runs/quickstart/model
curl -X POST localhost:8000/v1/signs -H 'content-type: application/json' -d '{"text": "hello"}' -o hello.pose
"""

import ray
from click import ClickException
from ray import serve

from ms2sl.errors import InputError
from ms2sl.training.checkpoint import CONFIG
from serve.ingress import Frontend
from serve.model_replica import Sampler
from serve.models import absolute, find
from serve.renderer import Renderer
from serve.settings import Service

# Busy replicas are slow to say that they are well; of a new version, replicas are ready before old ones go, which end what they have begun.
LASTING = {"health_check_timeout_s": 60, "max_surge_percent": 100, "graceful_shutdown_timeout_s": 120}
DRAWINGS = 8  # that wait
DEFAULT_MODEL = "runs/quickstart/model"


class Refused(ClickException, InputError):
    """A wrong argument, of which ``serve run`` shows one line."""


def build(arguments: dict) -> serve.Application:
    """arguments: the keys of ``Service``. Raises Refused for a wrong one and for a model that is not there."""
    try:
        service = Service.parse(arguments)
        if service.api_keys_file is not None:
            service = service.model_copy(update={"api_keys_file": absolute(service.api_keys_file)})
            service.api_keys()
        return application(service, model(service))
    except InputError as error:
        raise Refused(str(error)) from None


def application(service: Service, model: dict) -> serve.Application:
    """model: what the samplers load, until a config file says otherwise: that restarts nothing."""
    number = frontends(service)
    sampler = serve.deployment(Sampler).options(
        user_config=model,
        ray_actor_options={"num_cpus": service.cpus, "num_gpus": service.gpus},
        max_ongoing_requests=8 * number * service.sampler_limit,  # calls, of which a frontend makes two a sampler
        max_constructor_retry_count=3,
        **LASTING,
        **replicas(service),
    )
    samplers = sampler.bind(max(1, round(service.cpus)), service.max_batch_size, "cuda" if service.gpus else "cpu", service.precision)
    renderer = (
        serve.deployment(Renderer)
        .options(ray_actor_options={"num_cpus": 0.1}, max_ongoing_requests=1, max_queued_requests=DRAWINGS, **LASTING)
        .bind()
    )
    frontend = serve.deployment(Frontend).options(
        num_replicas=number,
        ray_actor_options={"num_cpus": 0.1},
        max_ongoing_requests=2 * service.max_concurrent_requests,  # room to say that there is none
        max_queued_requests=-1,
        **LASTING,
    )
    return frontend.bind(service, samplers, renderer)


def model(service: Service) -> dict:
    """What is asked for, as a version or folder that all samplers find, whenever they start."""
    if service.model is None:
        return {"model": str(absolute(DEFAULT_MODEL, CONFIG)), "tracking": service.tracking}
    pinned = find(service.model, service.tracking)
    return {"model": pinned.place, "tracking": pinned.tracking}


def frontends(service: Service) -> int:
    """How many there are: by default two where there are two nodes, so that one is left when a node is lost. Ray starts the replicas of a
    deployment on one node after another, if there is room. ``serve run`` builds before it joins a cluster: then there is one."""
    if service.frontends is not None or not ray.is_initialized():
        return service.frontends or 1
    return max(1, min(2, sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())))


def replicas(service: Service) -> dict:
    """How many samplers there are, and when there are more."""
    if service.sampler_limit == service.min_replicas:
        return {"num_replicas": service.min_replicas}
    return {
        "autoscaling_config": {
            "min_replicas": service.min_replicas,
            "max_replicas": service.sampler_limit,
            "target_ongoing_requests": 1.5,  # calls, each of as many requests as wait
            "upscale_delay_s": 10,
            "downscale_delay_s": 300,
        }
    }
