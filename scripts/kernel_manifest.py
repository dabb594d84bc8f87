"""The record of what the committed artefacts were built from, and the check against it.

Here: `kernel/prebuilds/manifest.json` (per platform: zig version, hash of everything that
went in, sha256 of what came out), `kernel/dist/checksums.sha256` for `sha256sum -c`, and
telling stale artefacts from fresh ones without a compiler.
Not here: building them (kernel_build).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import targets
from kernel_build import Recipe


def input_hash(target: targets.Target, root: Path) -> str:
    """Hash everything that decides one platform's artefacts: commands, zig version, sources.

    Headers count for every platform; rooms of another operating system do not.
    """
    headers = [path.relative_to(root).as_posix() for path in sorted((root / "kernel").glob("*/*.h"))]
    headers = [name for name in headers if name.startswith(("kernel/src/", "kernel/include/", "kernel/cli/"))]
    digest = hashlib.sha256()
    digest.update(json.dumps([targets.ZIG_VERSION, Recipe(target, root).commands()]).encode())
    for name in [*headers, *targets.sources(root, target.os), *targets.program_sources(root)]:
        content = (root / name).read_bytes()
        digest.update(f"\n{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def record(target: targets.Target, inputs: str, root: Path) -> None:
    """Write down what was just built for one platform.

    Args:
        target: The platform.
        inputs: `input_hash` from before the build, so that an edit during it shows as stale.
        root: Root of the repository.
    """
    entries = _load(root)
    entries[target.triple] = {
        "zig": targets.ZIG_VERSION,
        "inputs": inputs,
        "archive": _sha256(root / target.archive),
        "program": _sha256(root / target.program_file),
    }
    known = {row.triple: entries[row.triple] for row in targets.TARGETS if row.triple in entries}
    manifest = root / targets.MANIFEST
    manifest.write_text(json.dumps({"targets": known}, indent=2) + "\n", encoding="utf-8")
    (root / targets.CHECKSUMS).write_text(_checksums(known), encoding="utf-8")


def stale(root: Path) -> list[str]:
    """Compare the artefacts and the sources with the record.

    Returns:
        One line per artefact that cannot be trusted, naming file and reason; empty when
        everything is fresh.
    """
    try:
        entries = _load(root)
    except (ValueError, KeyError, TypeError) as error:
        return [f"{targets.MANIFEST}: unreadable: {error!r}"]
    problems = []
    for target in targets.TARGETS:
        entry = entries.get(target.triple)
        if entry is None:
            problems.append(f"{target.archive}: not in {targets.MANIFEST}")
            continue
        if entry.get("inputs") != input_hash(target, root):
            problems.append(f"{target.archive}: sources, flags or zig have changed since it was built")
            problems.append(f"{target.program_file}: sources, flags or zig have changed since it was built")
        for name, key in ((target.archive, "archive"), (target.program_file, "program")):
            path = root / name
            if not path.is_file():
                problems.append(f"{name}: missing")
            elif _sha256(path) != entry.get(key):
                problems.append(f"{name}: not the file that was recorded in {targets.MANIFEST}")
    checksums = root / targets.CHECKSUMS
    written = checksums.read_text(encoding="utf-8") if checksums.is_file() else None
    if not problems and written != _checksums(entries):
        problems.append(f"{targets.CHECKSUMS}: does not match {targets.MANIFEST}")
    return problems


def _load(root: Path) -> dict[str, Any]:
    manifest = root / targets.MANIFEST
    if not manifest.is_file():
        return {}
    entries = json.loads(manifest.read_text(encoding="utf-8"))["targets"]
    return dict(entries)


def _checksums(entries: dict[str, Any]) -> str:
    rows = [row for row in targets.TARGETS if row.triple in entries]
    return "".join(f"{entries[row.triple]['program']}  {row.program}/stdio_bus\n" for row in rows)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
