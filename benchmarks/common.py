"""What a benchmark says of the machine, and where it keeps its table."""

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch

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
    header, *body = [f"| {' | '.join(row)} |" for row in rows]
    table = "\n".join([header, "|" + "---|" * len(rows[0]), *body])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(f"{title}\n\n{table}\n")
    print(f"{title}\n\n{table}")
