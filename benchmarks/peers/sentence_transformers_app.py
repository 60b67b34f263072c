"""sentence-transformers' CrossEncoder behind the least of HTTP: it is a library and has no server of its own.

One request at a time, its pairs in padded batches of 32 as `predict` makes them, sorted by length. Runs in an
environment of its own that holds sentence-transformers and not this project: `python … FOLDER PORT THREADS`.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

import torch
from sentence_transformers import CrossEncoder

BATCH_SIZE = 32
"""The library's default."""


def handler_of(model: CrossEncoder) -> type[BaseHTTPRequestHandler]:
    """Answers GET with 200, and POST of `{"pairs": [[query, document], …]}` with `{"scores": […]}`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply({})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            pairs = [tuple(pair) for pair in body["pairs"]]
            scores = model.predict(
                pairs, batch_size=BATCH_SIZE, show_progress_bar=False, activation_fn=torch.nn.Identity()
            )
            self._reply({"scores": [float(score) for score in scores]})

        def _reply(self, value: object) -> None:
            raw = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Silent."""

    return Handler


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    encoder = CrossEncoder(sys.argv[1], device="cpu", model_kwargs={"dtype": torch.float32}, num_labels=1)
    HTTPServer(("127.0.0.1", int(sys.argv[2])), handler_of(encoder)).serve_forever()
