"""``python -m tests``: prepare what the tests need, run all of them, end what was started.

Further arguments go to pytest. With ``REQUIRE_ALL_GROUPS=1`` a skipped group is a failure.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.services import Services


def main(arguments: list[str]) -> int:
    # What ends us must also end the services: as an exception it passes the ``finally``.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    services = Services()
    try:
        services.prepare()
        return _pytest(arguments, {**os.environ, **services.environment()})
    finally:
        services.stop()


def _pytest(arguments: list[str], environment: dict[str, str]) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "3", *arguments]
    with subprocess.Popen(command, env=environment) as pytest:
        try:
            return pytest.wait()
        except BaseException:
            pytest.terminate()
            raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
