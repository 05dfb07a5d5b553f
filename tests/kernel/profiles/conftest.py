"""What the tests of the shipped profiles share."""

import pytest

from tests.kernel.harness import Sandbox
from tests.kernel.profiles.projects import Home


@pytest.fixture
def home(sandbox: Sandbox) -> Home:
    """A new home of the caller's, with secrets and projects."""
    return Home(sandbox)
