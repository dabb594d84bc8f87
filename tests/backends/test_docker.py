"""The docker backend over a fake engine: its command lines, every way to fail and to end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stdiobus import (
    AsyncStdioBus,
    BusConfig,
    DockerOptions,
    InvalidArgumentError,
    InvalidStateError,
    PoolConfig,
    StdioBus,
    TransportError,
    UnavailableError,
)
from stdiobus.backends import docker as module
from stdiobus.backends import program
from stdiobus.backends.docker import find_engine, require_image


@pytest.fixture
def pool(compiled_echo_worker):
    return PoolConfig("echo", compiled_echo_worker, protocol="jsonrpc")


@pytest.fixture
async def make(fake_engine, pool):
    """`make(pool=..., **options)`: a bus in a container, destroyed after the test."""
    made = []

    def bus(pool=pool, **options):
        options = DockerOptions(**{"image": "image", "engine_path": str(fake_engine), **options})
        made.append(AsyncStdioBus(BusConfig([pool]), backend="docker", docker=options))
        return made[-1]

    yield bus
    for each in made:
        each.destroy()
    await until(lambda: not containers(fake_engine) and not program._unfinished)


def containers(engine):
    """The names of the containers that are there."""
    return sorted({path.name for path in engine.parent.iterdir()} - {"docker", "images", "log"})


def commands(engine):
    """What the engine was told to do."""
    return [json.loads(line) for line in (engine.parent / "log").read_text().splitlines()]


def container_pid(engine, name):
    return int((engine.parent / name).read_text())


def environment_of(pid):
    return Path(f"/proc/{pid}/environ").read_bytes()


async def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "within 20 s"
        await asyncio.sleep(0.01)


# ---- running ---------------------------------------------------------------------------------


async def test_command_line_names_the_container_and_holds_no_secret(make, fake_engine, compiled_echo_worker):
    pool = PoolConfig("echo", compiled_echo_worker, env={"TOKEN": "hush-1"}, protocol="jsonrpc")
    options = {"container_name_prefix": "mine", "pull_policy": "always", "env": {"OTHER": "hush-2"}}
    async with make(pool, extra_args=["--label", "a=b"], **options) as bus:
        assert bus.get_backend_type() == "docker"
        assert await bus.request("echo", {"n": 1}) == {"n": 1}
        [name] = containers(fake_engine)
        environment = environment_of(container_pid(fake_engine, name))
    [_, run] = commands(fake_engine)
    assert name.startswith("mine-")
    assert run == [
        *["run", "--interactive", "--rm", "--name", name, "--pull=always", "--log-driver=none"],
        *["--entrypoint=stdio_bus", "--label", "a=b", "image"],
        *["--config-fd", "0", "--stdio", "--tagged", "--log-level", "warning"],
    ]
    assert b"hush" not in environment
    assert "hush" not in json.dumps(run)


async def test_variables_reach_the_workers_that_inherit_any(make):
    show = [sys.executable, "-c", "import os,sys,json\n" + SHOW_ENVIRONMENT]
    inherits = PoolConfig("a", show[0], show[1:], env={"MINE": "pool"}, protocol="jsonrpc")
    async with make(inherits, env={"MINE": "docker", "ADDED": "1", "HOME": None}) as bus:
        seen = await bus.request("x")
        assert (seen["MINE"], seen["ADDED"], "HOME" in seen) == ("pool", "1", False)
    closed = PoolConfig("a", show[0], show[1:], inherit_env=False, protocol="jsonrpc")
    async with make(closed, env={"ADDED": "1"}) as bus:
        assert "ADDED" not in await bus.request("x")


SHOW_ENVIRONMENT = """
for line in sys.stdin:
    answer = {"jsonrpc": "2.0", "id": json.loads(line)["id"], "result": dict(os.environ)}
    print(json.dumps(answer), flush=True)
"""


def test_two_synchronous_buses_have_a_container_each(fake_engine, pool):
    options = DockerOptions("image", engine_path=str(fake_engine))
    config = BusConfig([pool])
    with StdioBus(config, backend="docker", docker=options) as one:
        with StdioBus(config, backend="docker", docker=options) as other:
            assert (one.request("echo", [1]), other.request("echo", [2])) == ([1], [2])
            assert len(containers(fake_engine)) == 2
        assert len(containers(fake_engine)) == 1


# ---- finding an engine and an image ----------------------------------------------------------


@pytest.fixture
def on_path(tmp_path, monkeypatch, fake_engine):
    """`on_path(name, mode)`: puts an engine on the PATH, which has nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(name, mode=""):
        (folder / name).write_text(f'#!/bin/sh\nFAKE_ENGINE_MODE={mode} exec "{fake_engine}" "$@"\n')
        (folder / name).chmod(0o755)
        return str(folder / name)

    return put


async def test_first_engine_that_answers_is_taken(on_path):
    nerdctl = on_path("nerdctl")
    assert await find_engine(DockerOptions()) == nerdctl
    podman = on_path("podman")
    on_path("docker", "down")
    assert await find_engine(DockerOptions()) == podman
    assert await find_engine(DockerOptions(engine_path="nerdctl")) == nerdctl
    assert await find_engine(DockerOptions(engine_path=podman)) == podman


async def test_every_engine_is_listed_with_its_reason(on_path, monkeypatch):
    monkeypatch.setattr(module, "_ANSWER_SEC", 0.5)
    docker = on_path("docker", "down")
    podman = on_path("podman", "hung")
    with pytest.raises(UnavailableError, match=r"set DockerOptions\.engine_path") as caught:
        await find_engine(DockerOptions())
    assert caught.value.details["tried"] == [
        (docker, "Cannot connect to the daemon. Is it running?"),
        (podman, "no answer within 0.5 s"),
        ("nerdctl", "no such program"),
    ]
    for _, problem in caught.value.details["tried"]:
        assert problem in str(caught.value)


async def test_engine_that_cannot_be_executed(tmp_path):
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(UnavailableError, match="Exec format error"):
        await find_engine(DockerOptions(engine_path=str(tmp_path / "text")))


async def test_image_that_is_not_there(fake_engine):
    await require_image(str(fake_engine), "image")
    with pytest.raises(
        UnavailableError, match=r"has no image absent: No such image: absent; pull or build it"
    ):
        await require_image(str(fake_engine), "absent")


# ---- starts that fail ------------------------------------------------------------------------


async def test_image_that_must_not_be_fetched(make, fake_engine):
    with pytest.raises(UnavailableError, match="has no image absent"):
        await make(image="absent", pull_policy="never").start()
    assert [command[0] for command in commands(fake_engine)] == ["version", "image"]


@pytest.mark.parametrize(
    ("mode", "image", "message"),
    [
        ("unpullable", "absent", r'has no image absent .*pull_policy "missing"(.|\n)*Unable to find image'),
        ("empty", "image", r"image image has no stdio_bus that .* can execute(.|\n)*not found in \$PATH"),
        ("broken", "image", r"exit code 125(.|\n)*extra_args(.|\n)*unknown flag: --nonsense"),
    ],
)
async def test_start_that_fails_says_whose_fault_it_is(make, fake_engine, monkeypatch, mode, image, message):
    monkeypatch.setenv("FAKE_ENGINE_MODE", mode)
    with pytest.raises(UnavailableError, match=message) as caught:
        await make(image=image).start()
    assert caught.value.details["engine"] == str(fake_engine)
    assert caught.value.details["image"] == image


async def test_program_that_says_nothing(make, fake_engine, monkeypatch):
    monkeypatch.setenv("FAKE_ENGINE_MODE", "silent")
    message = r"container stdiobus-\w+ of image .* did not report within 0.5 s .*startup_timeout_sec"
    with pytest.raises(UnavailableError, match=message):
        await make(startup_timeout_sec=0.5).start()
    await until(lambda: not containers(fake_engine))


async def test_start_that_is_given_up_leaves_nothing(make, fake_engine, monkeypatch):
    looking = make()
    task = asyncio.ensure_future(looking.start())
    await asyncio.sleep(0)  # it waits for the engine's answer
    looking.destroy()
    with pytest.raises(InvalidStateError):
        await task
    assert [command[0] for command in commands(fake_engine)] == ["version"]
    monkeypatch.setenv("FAKE_ENGINE_MODE", "silent")
    task = asyncio.ensure_future(make().start())
    await until(lambda: containers(fake_engine))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not containers(fake_engine))


async def test_what_the_program_says_is_passed_on(make):
    with pytest.raises(UnavailableError, match=r"no-such-program"):
        await make(PoolConfig("a", "no-such-program")).start()


# ---- ends ------------------------------------------------------------------------------------


async def test_orderly_stop_needs_no_force(make, fake_engine, gone):
    bus = make()
    await bus.start()
    [name] = containers(fake_engine)
    pid = container_pid(fake_engine, name)
    await bus.stop()
    assert gone(pid, 0)
    assert containers(fake_engine) == []
    assert [command[0] for command in commands(fake_engine)] == ["version", "run"]


async def test_destroy_does_not_wait_and_leaves_nothing(make, fake_engine, gone):
    bus = make()
    await bus.start()
    [name] = containers(fake_engine)
    pid = container_pid(fake_engine, name)
    started = time.monotonic()
    bus.destroy()
    assert time.monotonic() - started < 2
    await until(lambda: not containers(fake_engine) and gone(pid, 0))


async def test_container_that_resists_is_removed(make, fake_engine, gone):
    bus = make()
    await bus.start()
    [name] = containers(fake_engine)
    pid = container_pid(fake_engine, name)
    os.kill(pid, signal.SIGSTOP)
    await bus.stop(0.05)
    assert ["rm", "--force", name] in commands(fake_engine)
    await until(lambda: gone(pid, 0))
    assert containers(fake_engine) == []


async def test_death_of_the_container_is_told(make, fake_engine):
    async with make() as bus:
        [name] = containers(fake_engine)
        waiting = asyncio.ensure_future(bus.request("x", ["not answered: the worker is stopped"]))
        os.kill(container_pid(fake_engine, name), signal.SIGKILL)
        with pytest.raises(TransportError, match=rf"container {name} of image .* exit code 137"):
            await waiting
        assert not bus.is_running()


def test_death_of_the_host_ends_the_container(fake_engine, gone, compiled_echo_worker):
    script = f"""
import asyncio, os, signal
from stdiobus import *

async def main():
    options = DockerOptions("image", engine_path={str(fake_engine)!r})
    pool = PoolConfig("echo", {compiled_echo_worker!r}, protocol="jsonrpc")
    bus = AsyncStdioBus(BusConfig([pool]), backend="docker", docker=options)
    await bus.start()
    print(open(next(entry.path for entry in os.scandir({str(fake_engine.parent)!r})
                    if entry.name.startswith("stdiobus-"))).read(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, timeout=30)
    assert gone(int(ended.stdout), 20)


# ---- options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": ""}, "docker.image: must not be empty"),
        ({"image": "--privileged"}, 'docker.image: must not begin with "-"'),
        ({"pull_policy": "newest"}, "docker.pull_policy: must be one of missing, always, never"),
        ({"engine_path": None}, "docker.engine_path: must be a string"),
        ({"startup_timeout_sec": 0}, "docker.startup_timeout_sec: must be a number of seconds above 0"),
        ({"container_name_prefix": "-x"}, "docker.container_name_prefix: must match"),
        ({"extra_args": "--label"}, "docker.extra_args: must be an array of strings"),
        ({"env": {"A": 1}}, "docker.env.A: must be a string or null"),
    ],
)
def test_options_validate_themselves(options, message):
    with pytest.raises(InvalidArgumentError) as caught:
        DockerOptions(**options)
    assert str(caught.value).startswith(message)
