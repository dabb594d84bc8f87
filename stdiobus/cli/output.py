"""What is printed on stdout: tables on a terminal, JSON elsewhere."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="JSON on a terminal, too.")


def wants_json(as_json: bool) -> bool:
    """Whether a program will read it.

    Args:
        as_json: What the option says.
    """
    return as_json or not is_terminal()


def is_terminal() -> bool:
    """Whether somebody looks at stdout."""
    return sys.stdout.isatty()


def print_json(value: Any) -> None:
    """Prints a JSON value."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
