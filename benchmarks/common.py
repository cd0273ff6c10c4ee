"""What a benchmark says of the machine, and where it keeps its table."""

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ms2sl.data.collate import FRAME_MULTIPLE, Batch, BatchField
from ms2sl.data.skeleton import Skeleton
from ms2sl.features.base import Features

LETTERS_PER_SECOND = 2
RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """Processor, threads and versions, in a line."""
    model = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor())
    flags = next((line for line in _cpuinfo() if line.startswith("flags")), "")
    fast = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags.split()]
    return f"{model}, {os.cpu_count()} cores ({', '.join(fast) or 'no bf16'}), torch {torch.__version__}, {datetime.date.today()}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def save(name: str, title: str, rows: Sequence[Sequence[str]]) -> None:
    """Prints the table and keeps it in ``benchmarks/results/<name>.md``."""
    save_tables(name, title, {"": rows})


def save_beside(name: str, title: str, header: Sequence[str], rows: Sequence[Sequence[str]], key: int) -> None:
    """Rows in the place of those of the table that have the same first ``key`` cells, the others as they are."""
    path = RESULTS / f"{name}.md"
    lines = path.read_text().splitlines() if path.exists() else []
    before = [tuple(line.strip("| ").split(" | ")) for line in lines if line.startswith("|")][2:]
    new = {tuple(row[:key]) for row in rows}
    first = next((i for i, row in enumerate(before) if row[:key] in new), len(before))
    kept = [row for row in before if row[:key] not in new]
    save(name, title, [header, *kept[:first], *rows, *kept[first:]])


def save_tables(name: str, title: str, tables: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Prints several, each under its heading, and keeps them in one file."""
    parts = [title]
    for heading, rows in tables.items():
        header, *body = [f"| {' | '.join(row)} |" for row in rows]
        parts += ([heading] if heading else []) + ["\n".join([header, "|" + "---|" * len(rows[0]), *body])]
    text = "\n\n".join(parts)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(f"{text}\n")
    print(text)


def random_batch(clips: int, seconds: float, fps: float, skeleton: Skeleton, speech: Features) -> Batch:
    """Clips of noise that last so long, each with poses, text as bytes, and speech."""
    frames, letters, spoken = (round(seconds * rate) for rate in (fps, LETTERS_PER_SECOND, speech.rate or 0))
    poses = torch.randn(clips, frames, skeleton.n_joints, skeleton.dims)
    lengths = (torch.full((clips,), n) for n in (frames, letters, spoken))
    return Batch(
        {
            "poses": BatchField(poses, next(lengths), torch.ones(poses.shape[:3], dtype=torch.bool), FRAME_MULTIPLE),
            "text": BatchField(torch.randint(97, 122, (clips, letters)), next(lengths)),
            "speech": BatchField(torch.randn(clips, spoken, *speech.shape), next(lengths)),
        }
    )
