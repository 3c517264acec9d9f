"""`make provider`: the OpenID provider of the tests on a fixed port, to try social sign-in with. Ctrl-C ends it."""

import json
import os
import sys

from tests.services.install import NotInstalled
from tests.services.node import PROVIDER, install, node
from tests.services.openid_provider import port_is_free

TOLD = PROVIDER / "try.json"


def main() -> None:
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
    os.execv(program, [str(program), "--no-warnings", str(PROVIDER / "server.mjs"), json.dumps(told)])


if __name__ == "__main__":
    main()
