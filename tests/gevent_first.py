"""Loaded by pytest with ``-p`` before anything else: the patch must precede ssl and requests."""

from gevent import monkey

monkey.patch_all()
