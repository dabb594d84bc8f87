"""All benchmarks, and their table; scripts/bench runs this."""

from __future__ import annotations

import argparse
import subprocess
import sys

import echo_worker
import kernel_tests
from benchmarks import kernel, throughput
from benchmarks.report import Row, table


def measure(quick: bool) -> list[Row]:
    rows = throughput.rows(str(echo_worker.build()), *((5, 6400) if quick else (15, 25600)))
    rows += kernel.scale(rounds=31, runs=1 if quick else 5)
    return rows + kernel.listener(*((5, 64_000) if quick else (15, 256_000)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    options = parser.parse_args()
    try:
        print(table(measure(options.quick)))
    except (
        echo_worker.NoCompilerError,
        kernel_tests.KernelTestError,
        subprocess.CalledProcessError,
    ) as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
