import dataclasses

import pytest
import torch
from pydantic import ValidationError

from ms2sl.data.collate import Batch, BatchField, Collate
from ms2sl.data.dataset import Dataset
from ms2sl.data.shards import read_shard
from ms2sl.data.training_clips import TrainingClips
from ms2sl.inference.sampling_config import Sampling
from ms2sl.metrics.motion import hand_dtw, movement
from ms2sl.nn.diffusion import SAMPLERS, SCHEDULES
from ms2sl.systems.baselines import MeanPose
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.model import BOTH, MS2SL, InpaintingWindow
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.training.checkpoint import ModelCard
from ms2sl.training.local import LocalReporter
from ms2sl.training.loop import TrainingConfig, train
from tests.conftest import BYTES, LOG_MEL


@pytest.fixture(scope="module")
def dataset(tiny_dataset) -> Dataset:
    return Dataset(tiny_dataset)


@pytest.fixture(scope="module")
def batch(dataset):
    """Clips that are complete."""
    collate = Collate(dataset.skeleton, BYTES, LOG_MEL)
    return collate(read_shard(dataset.shards("dev")[0][0], collate.columns))


@pytest.fixture
def model(dataset, tiny_model) -> MS2SL:
    torch.manual_seed(0)
    model = MS2SL(tiny_model, dataset.skeleton, BYTES, LOG_MEL)
    model.space.set_statistics(dataset.card.statistics)
    for parameter in model.parameters():  # heads begin at zero, which would hide what they depend on
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def without(batch, *modalities):
    return batch.having(**{name: dataclasses.replace(batch[name], lengths=torch.zeros_like(batch.n_text)) for name in modalities})


@pytest.mark.parametrize("missing", [(), ("speech",), ("text",), ("text", "speech")])
def test_any_modality_may_be_missing_and_every_parameter_still_gets_a_gradient(model, batch, missing):
    losses = model(without(batch, *missing), LossWeights(), torch.Generator().manual_seed(0))
    assert all(torch.isfinite(value) for value in losses.values())
    losses["loss"].backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_terms_that_need_a_missing_modality_are_zero(model, batch):
    losses = model(without(batch, "speech"), LossWeights(), torch.Generator().manual_seed(0))
    assert losses["frame_contrastive"] == losses["cross_modal"] == losses["ctc"] == 0
    assert losses["contrastive"] > 0


def test_the_loss_is_the_weighted_sum_of_its_terms(model, batch):
    weights = LossWeights(cycle=3.0, bone=0.0)
    losses = model(batch, weights, torch.Generator().manual_seed(0))
    expected = sum(getattr(weights, name) * losses[name] for name in model.loss_names[1:])
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def padded(batch, **sizes):
    """The same clips with longer padding."""

    def longer(values, size):
        return torch.cat([values, values.new_zeros(len(values), size - values.shape[1], *values.shape[2:])], dim=1)

    grown = {}
    for name, size in sizes.items():
        field = batch[name]
        mask = None if field.mask is None else longer(field.mask, size)
        grown[name] = dataclasses.replace(field, values=longer(field.values, size), mask=mask)
    return batch.having(**grown)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_padding_does_not_change_the_loss(model, batch, schedule):
    """Noise is drawn frame by frame, so the first frames of a single clip get the same; torch draws in sixteens, hence 8 frames more."""
    model.schedule = SCHEDULES[schedule]
    first = {
        name: (field.values[:1], field.lengths[:1], field.mask if field.mask is None else field.mask[:1]) for name, field in batch.items()
    }
    one = Batch({name: BatchField(*tensors) for name, tensors in first.items()})
    frames = -(-one.poses.shape[1] // 8) * 8
    tight = padded(one, poses=frames)
    loose = padded(one, poses=frames + 8, text=one.text.shape[1] + 12, speech=one.speech.shape[1] + 80)
    for seed in range(4):
        a, b = (model(each, LossWeights(), torch.Generator().manual_seed(seed)) for each in (tight, loose))
        for name in a:
            assert b[name].item() == pytest.approx(a[name].item(), rel=1e-4, abs=1e-5), name


def test_the_embedding_of_a_sign_ends_with_its_clip(model, batch):
    features, n_frames = model._coordinates(noise_for(batch, model, 24)), torch.full((len(batch),), 17)
    other = torch.cat([features[:, :17], torch.randn(len(batch), 11, features.shape[2])], dim=1)
    assert torch.allclose(model.sign(features, n_frames), model.sign(other, n_frames), atol=1e-5)


@pytest.mark.parametrize("patch", [1, 2, 3, 4])
def test_a_patch_fits_every_length_or_is_refused_by_the_config(dataset, batch, tiny_model, patch):
    try:
        config = ModelConfig.model_validate(tiny_model.model_dump() | {"patch": patch})
    except ValidationError:
        return
    model = MS2SL(config, dataset.skeleton, BYTES, LOG_MEL)
    frames = batch.poses.shape[1]
    for more in (4, 8, 12):  # whatever multiple of 4 the longest clip of a batch has
        grown = padded(batch, poses=frames + more)
        assert model(grown, LossWeights(), torch.Generator().manual_seed(0))["loss"].isfinite()


def test_heads_that_do_not_divide_the_width_are_refused_by_the_config():
    with pytest.raises(ValidationError, match="heads"):
        ModelConfig(width=16, heads=3)


def test_without_a_path_there_is_no_velocity():
    with pytest.raises(ValidationError, match=r"schedule none.*choose prediction_type sample"):
        ModelConfig(schedule="none", prediction_type="v_prediction")


@pytest.mark.parametrize(
    ("text", "speech", "pseudo", "allowed"),
    [
        (True, True, True, {0, 1, 2, 5}),
        (True, True, False, {0, 1, 2, 5}),
        (True, False, True, {0, 1, 4}),
        (False, True, True, {0, 2, 3}),
        (True, False, False, {0, 1}),
        (False, True, False, {0, 2}),
        (False, False, True, {0}),
    ],
)
def test_a_clip_is_conditioned_on_what_it_has(model, text, speech, pseudo, allowed):
    n = 4000
    choice = model._choose(torch.full((n,), text), torch.full((n,), speech), pseudo, torch.Generator().manual_seed(0))
    assert set(choice.tolist()) == allowed
    if len(allowed) > 1:
        assert (choice == 0).float().mean().item() == pytest.approx(model.config.cond_drop_prob, abs=0.02)
    if len(allowed) > 2:
        shares = torch.bincount(choice[choice > 0]).float()
        expected = [(1 - BOTH) / 2, (1 - BOTH) / 2, BOTH] if 5 in allowed else [0.5, 0.5]
        assert (shares[shares > 0] / shares.sum()).tolist() == pytest.approx(expected, abs=0.04)


def test_the_cycle_does_not_teach_the_sign_encoder_to_forgive(model, batch):
    zero = dict.fromkeys(LossWeights.model_fields, 0.0)
    model(batch, LossWeights(**zero | {"cycle": 1.0}), torch.Generator().manual_seed(0))["loss"].backward()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.sign.parameters())
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in model.denoiser.parameters())


def generate(model, *given, **named) -> torch.Tensor:
    return model.decode(model.generate(*given, **named))[0]


def noise_for(batch, model, frames):
    return torch.randn(len(batch), frames, model.features, generator=torch.Generator().manual_seed(1))


def test_what_lies_beyond_a_clips_end_changes_nothing_in_it(model, batch):
    condition = model.conditions(batch)["text"]
    n_frames = torch.full((len(batch),), 21)
    noise = noise_for(batch, model, 24)
    other = torch.cat([noise[:, :21], torch.randn(len(batch), 19, noise.shape[2])], dim=1)
    short, long = (generate(model, [condition], n_frames, x, 4)[:, :21] for x in (noise, other))
    assert torch.allclose(short, long, atol=1e-4)


def test_guidance_of_one_is_plain_and_more_goes_farther_from_the_unconditional(model, batch):
    condition, n_frames, noise = model.conditions(batch)["text"], torch.full((len(batch),), 20), noise_for(batch, model, 20)
    free, plain, strong = (generate(model, [condition], n_frames, noise, 1, guidance) for guidance in (0.0, 1.0, 2.0))
    assert torch.allclose(strong - plain, plain - free, atol=1e-3)
    assert not torch.allclose(plain, free, atol=1e-3)


@pytest.mark.parametrize(("begins", "times"), [(0.0, 4), (0.8, 2), (0.95, 1)])
def test_guidance_acts_near_noise_alone(model, batch, monkeypatch, begins, times):
    """4 steps at a shift of 3 are of the times 1, 0.9, 0.75 and 0.5."""
    model.config, calls, denoise = model.config.model_copy(update={"guidance_from": begins, "sampling_shift": 3.0}), [], model._denoise
    monkeypatch.setattr(model, "_denoise", lambda x, t, *given: (calls.append(round(t[0].item(), 4)), denoise(x, t, *given))[1])
    condition, n_frames, noise = model.conditions(batch)["text"], torch.full((len(batch),), 20), noise_for(batch, model, 20)
    generate(model, [condition], n_frames, noise, 4, 1.5)
    assert calls == sorted([1.0, 0.9, 0.75, 0.5, *[1.0, 0.9, 0.75, 0.5][:times]], reverse=True)


def part_of(batch, frames: int, weight: torch.Tensor | float = 0.0, whole: int | None = None, first: int = 0) -> InpaintingWindow:
    """Of it, real poses are known, as far as ``weight`` says, frame by frame."""
    firsts = torch.full((len(batch),), first)
    known, seen = (each[:, torch.arange(frames) % each.shape[1]] for each in (batch.poses, batch.seen))
    return InpaintingWindow(
        firsts, torch.full_like(firsts, whole or frames)[:, None], known, seen, torch.zeros(len(batch), frames) + weight
    )


@pytest.mark.parametrize(("sampler", "guidance"), [("ddim", 1.0), ("dpm++", 1.5)])
def test_a_part_that_is_all_of_which_nothing_is_known_is_the_whole(model, batch, sampler, guidance):
    conditions, n_frames, noise = [model.conditions(batch)["text"]], torch.full((len(batch),), 24), noise_for(batch, model, 24)
    plain = generate(model, conditions, n_frames, noise, 4, guidance, sampler)
    assert torch.allclose(generate(model, conditions, n_frames, noise, 4, guidance, sampler, part_of(batch, 24)), plain, atol=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_what_is_known_is_kept_and_the_rest_is_made(model, batch, schedule, sampler, guidance):
    model.schedule = SCHEDULES[schedule]
    conditions, n_frames, noise = [model.conditions(batch)["text"]], torch.full((len(batch),), 22), noise_for(batch, model, 24)
    part = part_of(batch, 24, (torch.arange(24) < 9).float())
    made = generate(model, conditions, n_frames, noise, 5, guidance, sampler, part)
    seen = model.space.share_seen > 0
    assert torch.allclose(made[:, :9, seen], part.known[:, :9, seen], atol=1e-4)
    assert not torch.isclose(made[:, 9:22, seen], part.known[:, 9:22, seen], atol=1e-3).all(dim=(2, 3)).any()


def test_what_is_half_known_is_half_way_between_it_and_what_would_be_made(model, batch):
    conditions, n_frames, noise = [model.conditions(batch)["text"]], torch.full((len(batch),), 24), noise_for(batch, model, 24)
    weight = torch.where(torch.arange(24) < 12, 0.5, 0.25)
    free, half = (generate(model, conditions, n_frames, noise, 1, part=part_of(batch, 24, each)) for each in (0.0, weight))
    part = part_of(batch, 24)
    seen = (part.seen & part.seen[..., model.space.anchor])[..., None]
    expected = torch.cat([(free + part.known)[:, :12] / 2, (0.75 * free + 0.25 * part.known)[:, 12:]], dim=1)
    assert torch.allclose(half * seen, expected * seen, atol=1e-4)


def test_what_is_made_goes_on_from_what_is_known(model, batch):
    conditions, n_frames, noise = [model.conditions(batch)["text"]], torch.full((len(batch),), 24), noise_for(batch, model, 24)
    part = part_of(batch, 24, (torch.arange(24) < 9).float())
    other = dataclasses.replace(part, known=part.known.flip(0))
    one, two = (generate(model, conditions, n_frames, noise, 4, part=each)[:, 9:] for each in (part, other))
    assert not torch.allclose(one, two, atol=1e-4)


def test_where_known_poses_have_joints_that_training_never_saw_they_change_nothing(model, batch):
    conditions, n_frames, noise = [model.conditions(batch)["text"]], torch.full((len(batch),), 24), noise_for(batch, model, 24)
    part, unseen = part_of(batch, 24, 1.0), model.space.share_seen == 0
    assert unseen.any()
    other = dataclasses.replace(part, known=torch.where(unseen[:, None], 100.0, part.known))
    assert torch.equal(*(generate(model, conditions, n_frames, noise, 2, part=each) for each in (part, other)))


def test_a_part_shows_what_is_said_in_its_frames_of_the_whole(model, batch):
    """A denoiser that shows what is laid out along the frames: a part shows what the whole shows there."""
    model.denoiser.forward = lambda noisy, t, n_frames, chosen, aligned, *context: (
        aligned.repeat_interleave(2, 1).mean(2, True).expand_as(noisy)
    )
    conditions, n_frames = [model.conditions(batch)["text"]], torch.full((len(batch),), 80)
    whole = generate(model, conditions, n_frames, noise_for(batch, model, 80), 1)
    made = generate(model, conditions, torch.full_like(n_frames, 36), noise_for(batch, model, 36), 1, part=part_of(batch, 36, 0.0, 80, 30))
    assert torch.allclose(made, whole[:, 30:66], atol=1e-4)
    assert not torch.allclose(made, whole[:, :36], atol=1e-2)


def with_prediction_type(model, **changes) -> MS2SL:
    config = model.config.model_copy(update=changes)
    again = MS2SL(config, model.skeleton, BYTES, LOG_MEL)
    again.load_state_dict(model.state_dict())
    return again


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_denoiser_that_knows_the_velocity_has_no_error_and_samples_the_pose(model, batch, schedule):
    model = with_prediction_type(model, schedule=schedule, prediction_type="v_prediction")
    x0, _ = model._encode(batch.poses, batch.seen, batch.n_frames)
    x0 = x0 * model._real(batch.n_frames, x0.shape[1])

    def velocity(x_t, t, *given):
        t = t[:, None, None]
        if schedule == "linear":
            return (x_t - x0) / t
        angle = t * torch.pi / 2  # noise = (x_t - cos x0) / sin
        return (angle.cos() * x_t - x0) / angle.sin()

    model.denoiser.forward = velocity
    losses = model(batch, LossWeights(), torch.Generator().manual_seed(0))
    assert losses["x0_mse"].item() == pytest.approx(0, abs=1e-8)
    assert losses["joint_mse"].item() == pytest.approx(0, abs=1e-8)
    conditions, noise = [model.conditions(batch)["text"]], noise_for(batch, model, x0.shape[1])
    for steps, guidance, sampler in ((1, 1.0, "ddim"), (6, 2.0, "ddim"), (6, 2.0, "dpm++")):
        made = generate(model, conditions, batch.n_frames, noise, steps, guidance, sampler)
        assert torch.allclose(made, model.decode(x0)[0], atol=1e-4), (steps, sampler)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_model_learns_to_predict_the_velocity_and_samples_with_it(dataset, tiny_model, batch, schedule):
    torch.manual_seed(0)
    model = MS2SL(tiny_model.model_copy(update={"schedule": schedule, "prediction_type": "v_prediction"}), dataset.skeleton, BYTES, LOG_MEL)
    model.space.set_statistics(dataset.card.statistics)
    optimizer, found = torch.optim.Adam(model.parameters(), lr=1e-2), []
    for _ in range(30):
        losses = model(batch, LossWeights(), torch.Generator().manual_seed(0))  # of the same times and noise
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        found.append(losses["x0_mse"].item())
    assert found[-1] < 0.7 * found[0]
    made = generate(
        model, [model.conditions(batch)["text"]], batch.n_frames, noise_for(batch, model, batch.poses.shape[1]), 8, 1.5, "dpm++"
    )
    assert torch.isfinite(made).all()


def test_an_overfitted_model_signs_its_clips(dataset, tmp_path):
    """Eight clips: the error falls ten times, and samples are three times nearer to the real clips than the mean pose, and move as much."""
    torch.manual_seed(0)
    config = ModelConfig(width=64, encoder_layers=1, denoiser_layers=2, embedding=32)
    task = MS2SLTask(dataset, config, LossWeights(), ModelCard.of("ms2sl", config, dataset.card))
    table = read_shard(dataset.shards("test")[0][0], task.collate.columns).slice(0, 8)
    batch = task.collate(table)
    every = {"steps": 250, "validate_every": 250, "checkpoint_every": 250, "log_every": 10}
    training = TrainingConfig(**every, learning_rate=4e-3, warmup=20, ema_decay=0.95, precision="fp32")
    reporter = LocalReporter(tmp_path)

    def again(step):
        while True:
            yield batch

    train(task, again, training, reporter)
    assert reporter.history[-1]["x0_mse"] < reporter.history[0]["x0_mse"] / 10
    clips = list(dataset.clips("test"))[:8]
    producer, mean = MS2SLProducer.load(reporter.latest()), MeanPose(TrainingClips.of_clips(clips, dataset.skeleton))
    for modality in ("text", "speech", "both"):
        utterances = [clip.utterance(modality) for clip in clips]
        own, trivial = (each.produce(utterances, seed=0) for each in (producer, mean))
        errors = [hand_dtw(all_made, [clip.poses for clip in clips], dataset.skeleton).sum() for all_made in (own, trivial)]
        assert errors[0] < errors[1] / 3, modality
        moved = [sum(movement(poses, dataset.skeleton) for poses in some) for some in (own, [clip.poses for clip in clips])]
        assert 0.8 < moved[0] / moved[1] < 1.25, modality
        for steps in (1, 4, 50):
            made = producer.produce(utterances, Sampling(steps=steps), seed=0)
            assert 0.75 < sum(movement(poses, dataset.skeleton) for poses in made) / moved[1] < 1.3, f"{steps} steps from {modality}"
        wrong = producer.produce([clip.utterance(modality) for clip in clips[::-1]], seed=0)
        mixed = hand_dtw(wrong, [clip.poses for clip in clips], dataset.skeleton).sum()
        assert errors[0] < mixed / 2, "what is said decides what is signed"


def overfitted(task: MS2SLTask, batch: Batch, steps: int = 150) -> MS2SL:
    """The model of a task after it has learned from one batch alone."""
    model, generator = task.module, torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        model(batch, LossWeights(), generator)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def test_when_a_hand_is_seen_is_learned(dataset):
    """The hand of each clip leaves the picture in the middle: samples hide it there, and where it is hidden it is at no wild place."""
    torch.manual_seed(0)
    config = ModelConfig(width=64, encoder_layers=1, denoiser_layers=2, embedding=32)
    task = MS2SLTask(dataset, config, LossWeights(), ModelCard.of("ms2sl", config, dataset.card))
    batch = task.collate(read_shard(dataset.shards("test")[0][0], task.collate.columns).slice(0, 4))
    right, frames = dataset.skeleton.part("right_hand"), batch.poses.shape[1]
    later = torch.arange(frames)[None] >= batch.n_frames[:, None] / 2
    batch.seen[..., right] &= ~later[..., None]
    batch.poses[~batch.seen] = 0
    model = overfitted(task, batch)
    white = torch.randn(len(batch), model.overhang + frames, model.features, generator=torch.Generator().manual_seed(1))
    made = model.generate([model.conditions(batch)["text"]], batch.n_frames, model.noise(white), 8)
    poses, seen = model.decode(made)
    inside = torch.arange(frames)[None] < batch.n_frames[:, None]
    assert (seen[..., right].all(dim=2) == ~later)[inside].float().mean() > 0.9
    assert (poses[..., right, :].norm(dim=-1)[inside] < 4).all()
