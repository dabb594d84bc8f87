"""The kernel in a container: the ``stdio_bus`` of an image, run by a docker-compatible engine.

This is the subprocess backend with another command: the engine's ``run``, which joins the
container's standard streams with its own.  No port is published, a remote engine will do,
and the configuration is in no command line.  When this process dies the container's stdin
ends, so its program stops in order, and ``--rm`` removes it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..config import BusConfig, DockerOptions
from ..errors import UnavailableError
from ..messages import BackendMode
from .base import Sink
from .pipes import PipeReader
from .program import NAME, Launch, Program, arguments, poll_until
from .subprocess import SubprocessBackend

ENGINES = ("docker", "podman", "nerdctl")
"""What is looked for on ``PATH``, in this order."""

_ANSWER_SEC = 10.0
"""How long an engine may take to say that it is there."""

_CANNOT_RUN = (126, 127)
"""Exit codes of ``run`` when the container cannot execute its program."""


async def find_engine(options: DockerOptions) -> str:
    """Finds the engine: ``engine_path``, else the first of `ENGINES` that answers.

    Raises:
        UnavailableError: There is none; the message lists each with the reason, and
            ``details["tried"]`` has the pairs.
    """
    tried: list[tuple[str, str]] = []
    for name in [options.engine_path] if options.engine_path else ENGINES:
        path = shutil.which(name)
        problem = "no such program" if path is None else await _unanswered(path)
        if path is not None and problem is None:
            return path
        tried.append((path or name, problem or ""))
    listing = "".join(f"\n  {place}: {problem}" for place, problem in tried)
    raise UnavailableError(
        "no container engine answers; start its service, install docker, podman or nerdctl, or set "
        f"DockerOptions.engine_path. Tried:{listing}",
        {"tried": tried},
    )


async def require_image(engine: str, image: str) -> None:
    """Checks that an image is there, so that nothing need be fetched.

    Raises:
        UnavailableError: It is not.
    """
    problem = await _absent(engine, image)
    if problem is not None:
        raise UnavailableError(
            f"{engine} has no image {image}: {problem}; pull or build it, or set DockerOptions.image",
            {"engine": engine, "image": image},
        )


class DockerBackend(SubprocessBackend):
    """See `Backend`; process ids are those inside the container.

    Args:
        engine: The engine's command line program.
        options: Image, timeout, name and arguments of the container.
    """

    mode = BackendMode.DOCKER

    def __init__(self, engine: str, options: DockerOptions) -> None:
        super().__init__(_launch(engine, options))
        self._engine = engine
        self._options = options

    async def start(self, config: BusConfig, sink: Sink) -> None:
        """See `Backend.start`."""
        try:
            await super().start(_with_environment(config, self._options.env), sink)
        except UnavailableError as error:
            reason = await self._reason(error.details.get("returncode"))
            if reason is None:
                raise
            facts = {"engine": self._engine, "image": self._options.image}
            raise UnavailableError(f"{reason}{self._tail()}", {**error.details, **facts}) from error

    async def _reason(self, code: int | None) -> str | None:
        """Why the container did not come up, when that is the engine's or the image's doing."""
        if code is None or code < 125:
            return None
        engine, image = self._engine, self._options.image
        if await _absent(engine, image) is not None:
            return (
                f"{engine} has no image {image} and could not fetch it (pull_policy "
                f'"{self._options.pull_policy}"); pull or build it, or set DockerOptions.image'
            )
        if code in _CANNOT_RUN:
            return (
                f"image {image} has no {NAME} that {engine} can execute; "
                "put the program into a folder of its PATH"
            )
        return f"{engine} could not run image {image} (exit code {code}); check DockerOptions.extra_args"


def _launch(engine: str, options: DockerOptions) -> Launch:
    name = f"{options.container_name_prefix}-{os.urandom(6).hex()}"
    command = [engine, "run", "--interactive", "--rm", "--name", name, f"--pull={options.pull_policy}"]
    # Else the engine would keep every message on its disk, too.
    command += ["--log-driver=none", f"--entrypoint={NAME}", *options.extra_args]
    return Launch(
        command=[*command, options.image, *arguments()],
        name=f"container {name} of {options.image} ({engine})",
        remedy="pull its image before, or raise DockerOptions.startup_timeout_sec",
        undo=[engine, "rm", "--force", name],
        start_timeout_sec=options.startup_timeout_sec,
    )


def _with_environment(config: BusConfig, env: Mapping[str, str | None]) -> BusConfig:
    """The configuration with variables for each worker that inherits any."""
    pools = [replace(p, env={**env, **p.env}) if p.inherit_env else p for p in config.pools]
    return replace(config, pools=pools)


async def _unanswered(engine: str) -> str | None:
    return await _problem([engine, "version"])


async def _absent(engine: str, image: str) -> str | None:
    return await _problem([engine, "image", "inspect", "--format", "{{.Id}}", image])


async def _problem(command: Sequence[str]) -> str | None:
    """Runs a short command; what went wrong, in its own words where it has any."""
    loop = asyncio.get_running_loop()
    try:
        program = Program(Launch(command, name=command[0], remedy=""))
    except UnavailableError as error:
        return error.message
    words = bytearray()
    stdin, stdout, stderr = program.take_pipes()
    os.close(stdin)
    pipes = [
        PipeReader(loop, stdout, lambda _: None, lambda: None),
        PipeReader(loop, stderr, words.extend, lambda: None),
    ]
    ended = poll_until(lambda: program.poll() is not None)
    try:
        await asyncio.wait({ended}, timeout=_ANSWER_SEC)
        code = program.poll()
        pipes[1].drain()
    finally:
        ended.cancel()
        for pipe in pipes:
            pipe.close()
        program.finish(wait=False)
    if code == 0:
        return None
    if code is None:
        return f"no answer within {_ANSWER_SEC:g} s"
    return words.decode(errors="replace").strip() or f"exit code {code}"
