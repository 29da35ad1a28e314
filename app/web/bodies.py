"""Text that no database stores is refused at the door: NUL and halves of surrogate pairs."""

from __future__ import annotations

import json

from flask import request
from werkzeug.exceptions import BadRequest

_NUL_ESCAPED = "\\u0000"


def require_storable() -> None:
    """
    Raises:
        BadRequest: the path, the query or the JSON body holds such text.
    """
    if "\x00" in request.path or b"%00" in request.query_string:
        raise BadRequest("A NUL character is not text.")
    if not request.is_json or b"\\u" not in request.get_data():
        return
    try:
        text = json.dumps(json.loads(request.get_data()), ensure_ascii=False)
        text.encode()
    except (ValueError, RecursionError) as e:
        raise BadRequest("The body is not JSON, or holds half of a surrogate pair.") from e
    if _NUL_ESCAPED in text:
        raise BadRequest("A NUL character is not text.")
