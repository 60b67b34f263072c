"""What the image's HEALTHCHECK runs: exit status 0 if the server in this container can score now, else 1.

Standard library only and no import of ours, so that a check costs no start of torch. It asks /readyz, which needs
no key and is 200 once every model has scored its golden pairs and its engine is alive.
"""

from __future__ import annotations

import os
import ssl
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 4
"""Below the HEALTHCHECK's own limit, so that the reason is still printed."""


def main() -> int:
    """Asks the server at REWARD_SERVER_PORT (default 8000) and prints why it is not ready."""
    port = os.environ.get("REWARD_SERVER_PORT") or "8000"
    scheme = "https" if os.environ.get("REWARD_SERVER_TLS_CERTFILE") else "http"
    # Its own server by its own address: the certificate is for the name that callers use.
    unverified = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(f"{scheme}://127.0.0.1:{port}/readyz", timeout=TIMEOUT_S, context=unverified):
            return 0
    except urllib.error.HTTPError as error:
        sys.stderr.write(f"not ready: {error.read().decode(errors='replace')}\n")
    except OSError as error:
        sys.stderr.write(f"not reachable: {error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
