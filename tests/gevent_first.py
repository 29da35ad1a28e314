"""Loaded by pytest with ``-p`` before anything else: the patch must precede ssl and requests."""

import os

from gevent import get_hub, monkey

monkey.patch_all()

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests are handed to a worker by a native thread that gevent knows nothing of. With a timer
    # pending, a main greenlet that waits for it is not taken for one that waits for ever.
    keep_alive = get_hub().loop.timer(3600, 3600)
    keep_alive.start(lambda: None)
