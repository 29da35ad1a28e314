"""The floor of ``tradovate_orders``: order requests made directly, all at once, from one process.

Reads a plan (JSON: ``url``, ``tokens`` and, for each order, a token's place and a body) from the
first line of its input; each further line lets all orders out once and is answered by the Unix
time at which that began.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json
import sys
import time
from typing import Any

import gevent
import requests
from requests.adapters import HTTPAdapter


def main() -> None:
    plan = json.loads(sys.stdin.readline())
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", HTTPAdapter(pool_maxsize=64))
    url = plan["url"]
    for order in plan["orders"]:
        order["token"] = plan["tokens"][order["token"]]
    for _ in sys.stdin:
        began = time.time()
        sent = [gevent.spawn(_send, session, url, order) for order in plan["orders"]]
        gevent.joinall(sent, raise_error=True)
        sys.stdout.write(f"{began}\n")
        sys.stdout.flush()


def _send(session: requests.Session, url: str, order: dict[str, Any]) -> None:
    answer = session.post(
        f"{url}/order/placeorder",
        data=json.dumps(order["body"]).encode(),
        headers={
            "Authorization": f"Bearer {order['token']}",
            "Content-Type": "application/json",
        },
        timeout=10,
    )
    assert "orderId" in answer.json(), answer.text


if __name__ == "__main__":
    main()
