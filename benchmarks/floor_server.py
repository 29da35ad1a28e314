"""The floor of the HTTP benchmarks: an empty Flask view under the same server and settings."""

from gevent import monkey

monkey.patch_all()

import sys

from flask import Flask, Response

from run import Handler, Server

app = Flask(__name__)


@app.post("/<path:name>")
def nothing(name: str) -> Response:
    return Response('{"status":"accepted"}', 202, mimetype="application/json")


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), app, log=None, backlog=4096, handler_class=Handler)
    server.start()
    sys.stdout.write(f"floor serves http://127.0.0.1:{server.server_port}/\n")
    sys.stdout.flush()
    server.serve_forever()
