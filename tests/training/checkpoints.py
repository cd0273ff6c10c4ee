"""What two checkpoints have alike."""

from pathlib import Path

from safetensors.torch import load_file


def contents(folder: Path) -> dict[str, bytes]:
    """Of the files of a checkpoint; tensors by file and name, since safetensors writes what it says of them in any order."""
    found = {}
    for path in folder.rglob("*.*"):
        name = str(path.relative_to(folder))
        if path.suffix == ".safetensors":
            found |= {f"{name}/{key}": tensor.numpy().tobytes() for key, tensor in load_file(path).items()}
        else:
            found[name] = path.read_bytes()
    return found
