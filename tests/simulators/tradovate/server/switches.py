"""What a test may change about the service while it runs; the control port uses these names."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600}
_LIMIT = re.compile(r"(\d+)/(s|sec|min|h)")


@dataclass
class Switches:
    token_minutes: float = 90.0
    max_sessions: int = 2
    """Log-ins of one user at a time; one more closes the oldest."""
    closed_session_status: int = 408
    """What the token of a closed or revoked session is answered: 401, 408, 429 or 5xx."""
    renewal_revokes_old: bool = False
    renewal_returns_md_token: bool = True
    bad_login_status: int = 200
    """200 with ``errorText``, or 401 as the conformance page has it."""
    tokens_cross_worlds: str = "oauth"
    """Tokens of the other world that are taken: ``none``, ``oauth`` or ``all``."""
    live_needs_device: bool = True
    oauth_echo_state: bool = True
    oauth_error_status: int = 200
    demo_refuses_oauth: bool = False
    """The demo host answers 429 to code exchanges."""

    limit: int = 5000
    limit_window_s: float = 3600.0
    lock_s: float = 3600.0
    login_failures_per_hour: int = 5
    renewals_per_hour: int = 15
    me_failures_per_hour: int = 10
    syncs_per_hour: int = 300
    dryruns_per_hour: int = 500

    heartbeat_s: float = 2.5
    silence_s: float = 15.0
    """A client that sends no ``[]`` for so long is cut off."""
    max_sockets: int = 50
    one_sync_per_socket: bool = True
    split_size: int = 100
    """Entities in one part of a split snapshot."""
    array_entities: bool = False
    """``entity`` of an event is a list."""
    out_of_order_responses: bool = False
    """Each answer on a socket is held until the next one has passed it."""

    latency_ms: float = 0.0


def parse_limit(text: str) -> tuple[int, float]:
    """``5000/h`` -> (5000, 3600).

    Raises:
        ValueError: it does not read as a number of calls per s, min or h.
    """
    match = _LIMIT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"a limit reads 5000/h or 80/min, not {text!r}")
    return int(match[1]), _SECONDS[match[2]]
