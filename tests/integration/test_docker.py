"""The docker backend over a real engine, with the image that `scripts/image` makes."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import signal
import struct
import subprocess
import tempfile

import pytest

import echo_worker
import image_archive
import targets
import zig_tool
from stdiobus import (
    AsyncStdioBus,
    BusConfig,
    DockerOptions,
    PoolConfig,
    SubprocessOptions,
    TransportError,
    UnavailableError,
)
from stdiobus.backends import program

IMAGE = "localhost/stdiobus-test/stdio_bus:test"
# Where a container may have no more of these than this process, the engine's defaults fail.
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"]
POOL = PoolConfig("echo", "echo_worker", protocol="jsonrpc", instances=2)


def engine_at(*command):
    """What the engine answers to a command."""
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def podman(folder, run):
    """The path of a podman that is content with root in a container, and keeps all it has in two folders."""
    runtime = "--runtime=runc" if shutil.which("runc") else ""
    storage = f'--root="{folder}/root" --runroot="{run}" --tmpdir="{folder}/tmp"'
    wrapper = folder / "podman"
    flags = f"--storage-driver=vfs --cgroup-manager=cgroupfs {runtime} {storage}"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("podman")} {flags} "$@"\n')
    wrapper.chmod(0o755)
    return str(wrapper)


@pytest.fixture(scope="module")
def short_folder():
    """A folder whose path podman allows for what it has while it runs: of 50 characters at most."""
    folder = tempfile.mkdtemp()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)  # some of it may be another user's


@pytest.fixture(scope="module")
def engine(tmp_path_factory, short_folder):
    """An engine that can run the image, which it has: docker where its service answers, else podman."""
    folder = tmp_path_factory.mktemp("engine")
    if shutil.which("docker") and engine_at("docker", "version").returncode == 0:
        found = "docker"
    elif shutil.which("podman"):
        found = podman(folder, short_folder)
    else:
        pytest.skip("no container engine: docker does not answer, and there is no podman")
    machine = targets.machine_name(platform.machine(), struct.calcsize("P"))
    try:
        target = image_archive.program_target(machine)
        worker = echo_worker.build_static(target)
    except (targets.TargetError, zig_tool.ZigError) as error:
        pytest.skip(f"no image: {error}")
    image_archive.write(folder / "image.tar", IMAGE, target, {"echo_worker": worker})
    loaded = engine_at(found, "load", "--input", str(folder / "image.tar"))
    assert loaded.returncode == 0, loaded.stderr
    tried = engine_at(found, "run", "--rm", *LIMITS, IMAGE, "--version")
    if tried.returncode != 0:
        pytest.skip(f"{found} cannot run containers here: {tried.stderr.strip()}")
    yield found
    engine_at(found, "image", "rm", "--force", IMAGE)


@pytest.fixture
async def make(engine):
    """`make(pool=..., **options)`: a bus in a container; after the test none must be left."""
    made = []

    def bus(pool=POOL, **options):
        options = {
            "image": IMAGE,
            "engine_path": engine,
            "extra_args": LIMITS,
            "pull_policy": "never",
            **options,
        }
        made.append(AsyncStdioBus(BusConfig([pool]), backend="docker", docker=DockerOptions(**options)))
        return made[-1]

    yield bus
    for each in made:
        each.destroy()
    await no_container(engine)


def containers(engine):
    return engine_at(engine, "ps", "--all", "--quiet", "--filter", "name=stdiobus-").stdout.split()


async def no_container(engine):
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 30
    while program._unfinished or await loop.run_in_executor(None, containers, engine):
        assert loop.time() < deadline, "a container was left"
        await asyncio.sleep(0.01)
    await loop.shutdown_default_executor()


async def test_calls_and_workers(make):
    async with make() as bus:
        assert bus.get_backend_type() == "docker"
        results = await asyncio.gather(*(bus.request("echo", {"n": n}) for n in range(2000)))
        assert [result["n"] for result in results] == list(range(2000))
        text = "x" * (3 << 20)
        same = await bus.request("echo", {"text": text}) == {"text": text}
        assert same
        assert bus.get_worker_count() == 2
        assert {worker.state for worker in bus.get_workers()} == {"ready"}


async def test_auto_takes_it_where_nothing_else_works(engine, monkeypatch, no_container_left):
    monkeypatch.setenv("STDIOBUS_LIBRARY", "/absent")
    options = DockerOptions(IMAGE, engine_path=engine, extra_args=LIMITS)
    other = SubprocessOptions(binary_path="/absent")
    async with AsyncStdioBus(BusConfig([POOL]), subprocess=other, docker=options) as bus:
        assert bus.get_backend_type() == "docker"
        assert await bus.request("echo", [1]) == [1]


@pytest.fixture
async def no_container_left(engine):
    yield
    await no_container(engine)


async def test_destroyed_bus_leaves_no_container(make):
    bus = make()
    await bus.start()
    bus.destroy()


async def test_death_of_the_engines_program_is_told_and_leaves_no_container(make):
    async with make() as bus:
        waiting = asyncio.ensure_future(bus.request("echo", ["x" * 1000] * 1000))
        os.kill(bus._life.dispatcher.backend._held.program.pid, signal.SIGKILL)
        with pytest.raises(TransportError, match=r"container stdiobus-.* signal 9"):
            await waiting


async def test_image_that_is_not_there(make):
    with pytest.raises(UnavailableError, match="has no image localhost/stdiobus-test/absent"):
        await make(image="localhost/stdiobus-test/absent").start()


async def test_arguments_that_the_engine_refuses(make):
    with pytest.raises(UnavailableError, match=r"could not run image(.|\n)*extra_args(.|\n)*--no-such-flag"):
        await make(extra_args=["--no-such-flag"]).start()


async def test_image_without_the_program(make):
    with pytest.raises(UnavailableError, match="has no stdio_bus"):
        await make(extra_args=[*LIMITS, "--entrypoint=absent"]).start()
