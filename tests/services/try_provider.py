"""`make provider`: the OpenID provider of the tests on a fixed port, to try social sign-in with. Ctrl-C ends it.

`python -m tests.services.try_provider token` prints an access token of Ada, who is in the group `wholesale`, for the
API `https://api.shop.example`: what a storefront of the provider would send.
"""

import json
import os
import sys
import urllib.request
from urllib.error import URLError

from tests.services.install import NotInstalled
from tests.services.node import PROVIDER, install, node
from tests.services.openid_provider import port_is_free

PYTHON = ".venv/bin/python"
TOLD = PROVIDER / "try.json"


API = "https://api.shop.example"


def token() -> str:
    """Return an access token of the running provider."""
    port = json.loads(TOLD.read_text("utf-8"))["port"]
    asked = {"email": "ada@example.org", "client_id": "shop", "resource": API, "scope": "openid profile email"}
    address = f"http://127.0.0.1:{port}/_control/access_token"
    try:
        with urllib.request.urlopen(address, json.dumps(asked).encode(), timeout=10) as answer:
            return str(json.load(answer)["token"])
    except URLError:
        sys.exit("The provider does not run: start it with `make provider` in another terminal.")


def main() -> None:
    if sys.argv[1:] == ["token"]:
        print(token())
        return
    told = json.loads(TOLD.read_text("utf-8"))
    try:
        program = node()
        print("Setting the provider up …" if not (PROVIDER / "node_modules").exists() else "Starting …", flush=True)
        install(PROVIDER)
    except NotInstalled as missing:
        sys.exit(str(missing))
    if not port_is_free(told["port"]):
        sys.exit(f"Port {told['port']} is taken: stop what listens there. It may be another provider of this command.")
    print(told["page"], flush=True)
    print(f"An access token for {API}: {PYTHON} -m tests.services.try_provider token", flush=True)
    os.execv(program, [str(program), "--no-warnings", str(PROVIDER / "server.mjs"), json.dumps(told)])


if __name__ == "__main__":
    main()
