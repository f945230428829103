"""The command `restsock`, for terminals and scripts. It needs the packages of the extra `cli`.

- `_main`: the list of all verbs, and what becomes of errors. A verb is loaded when it is called.
- `_options`: the options that several verbs have. `_hub_address`: whom to dial, and how.
- `_output`: stdout for data, stderr for all else; logs. `_panel`: the panel of a terminal.
- `_exit_codes`, `_failures`: exit codes, and errors in one line with what to do next.
- `_peer`: runs a peer, or a listener, until a signal; `_traffic` counts its requests.
- `_serve`, `_forward`, `_listening`: apps and servers as peers, or behind a port; `_apps` imports
  and wraps them. `_call`, `_expose`: requests through the ingress.
- `_hub`: a hub. `_admin`: its admin API; `_peers`, `_watching`, `_rules`, `_token`: verbs for it.
- `_doctor`, `_setup`, `_demo_app`: help.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

__all__ = ["main"]

_NEEDED = ("click", "rich", "msgspec")


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        args: Its arguments; `None` is those of the process.

    Returns:
        The exit code: docs/cli.md lists them.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"restsock: the command needs {', '.join(missing)}: pip install 'restsock[cli]'\n"
        )
        return 1
    from ._main import run

    return run(args)
