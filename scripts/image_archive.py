"""An image of the program as an archive that any docker-compatible engine loads.

Here: layer, image configuration and manifest of a one-layer image, byte for byte the same on
every machine. Not here: engines, compiling (echo_worker), the command line (image).

The format is that of `docker save`: `docker load`, `podman load` and `nerdctl load` read it.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import targets

NAME = "stdiobus/stdio_bus"
FOLDER = "bin"
"""Where the programs are in the image, and its PATH."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def program_target(machine: str) -> targets.Target:
    """Return the row whose program an image for a processor holds: the static one.

    Raises:
        targets.TargetError: There is none for this processor.
    """
    for target in targets.TARGETS:
        if target.libc == "musl" and target.machine == machine:
            return target
    raise targets.TargetError(f"no static program for {machine!r}, so no image")


def version() -> str:
    """Return the package's version, which is the tag of the image."""
    text = (targets.ROOT / "stdiobus/__init__.py").read_text(encoding="utf-8")
    return text.partition('__version__ = "')[2].partition('"')[0]


def write(archive: Path, tag: str, target: targets.Target, extra: Mapping[str, Path]) -> None:
    """Write an image.

    Args:
        archive: The file to write.
        tag: The image's name.
        target: From `program_target`.
        extra: Further static programs, by their names in the image.
    """
    programs = {"stdio_bus": targets.ROOT / target.program_file, **extra}
    layer = _tar({f"{FOLDER}/{name}": (path.read_bytes(), 0o755) for name, path in programs.items()})
    layer_name = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": _ARCHITECTURES[target.machine],
        "os": "linux",
        "config": {"Entrypoint": [f"/{FOLDER}/stdio_bus"], "Env": [f"PATH=/{FOLDER}"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_name}"]},
    }
    config_text = json.dumps(config, sort_keys=True).encode()
    config_name = f"{hashlib.sha256(config_text).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [tag], "Layers": [f"{layer_name}.tar"]}]
    files = {
        config_name: (config_text, 0o644),
        f"{layer_name}.tar": (layer, 0o644),
        "manifest.json": (json.dumps(manifest).encode(), 0o644),
    }
    archive.write_bytes(_tar(files))


def _tar(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """Pack files, with nothing of this machine: no owner, no time."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, (content, mode) in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
