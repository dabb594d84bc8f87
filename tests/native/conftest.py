"""The real library, where it was built."""

from __future__ import annotations

import pytest

from stdiobus import UnavailableError
from stdiobus.native import library


@pytest.fixture(scope="session")
def loaded():
    """The library; without one the test is skipped."""
    try:
        return library.load()
    except UnavailableError as error:
        pytest.skip(str(error))
