"""Networks on disk: tensors as safetensors, everything else as JSON; nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.files import atomic, read_table, write_json

Network = TypeVar("Network", bound=nn.Module)


def save_network(path: Path, network: nn.Module, spec: Mapping[str, Any]) -> None:
    """Writes `path`.safetensors and `path`.json (what `load_network`'s builder needs)."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    with atomic(path.with_suffix(".safetensors")) as temporary:
        save_file(tensors, temporary)
    write_json(path.with_suffix(".json"), dict(spec))


def load_network(path: Path, build: Callable[..., Network]) -> Network:
    """Builds a network from its JSON and fills it with its tensors; in eval mode, on the CPU.

    Raises:
        KRError: a file is missing, damaged or of another network.
    """
    spec = path.with_suffix(".json")
    try:
        network = build(**read_table(spec))
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, MemoryError) as error:
        raise KRError(f"{spec}: describes no network that can be built: {error}") from None
    file = path.with_suffix(".safetensors")
    try:
        network.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise KRError(f"{file}: not a network that this run wrote: {error}") from None
    return network.eval()
