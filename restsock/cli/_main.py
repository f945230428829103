"""The list of verbs. Each is loaded when it is called, so that help is quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from restsock._exceptions import RestsockError
from restsock._version import __version__

from ._exit_codes import ExitCode
from ._failures import Failure, failure_of, in_words

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = ["VERBS", "command", "run"]

# Section -> verb -> where it is, and the first line of its help: a test holds the two together.
VERBS: dict[str, dict[str, tuple[str, str]]] = {
    "Hub": {
        "hub": ("_hub:command", "Run a hub: peers, ingress and admin API."),
        "gateway": ("_gateway:command", "Run a gateway: messages of WebSockets become calls."),
        "check-config": ("_rules:check_config", "Check the file of a hub."),
    },
    "Peers": {
        "serve": ("_serve:command", "Serve an app as a peer of a hub."),
        "forward": ("_forward:command", "Make an HTTP server that already runs a peer."),
        "demo-app": ("_demo_app:command", "Run a tiny web server to try things with."),
    },
    "Calls": {
        "call": ("_call:command", "Send a request to a peer, through the hub."),
        "expose": ("_expose:command", "Open a local port that reaches a peer, through the hub."),
    },
    "Messages": {
        "input": (
            "_connectors:input_command",
            "Receive messages from WebSockets as lines.",
        ),
        "output": ("_connectors:output_command", "Send lines from stdin to WebSockets."),
        "tail": ("_channels:tail", "Write the messages of a channel as they are published."),
        "publish": ("_channels:publish", "Publish a message on a channel."),
    },
    "Administration": {
        "ls": ("_peers:ls", "List the peers of a hub."),
        "events": ("_watching:events", "Show which peers connect and disconnect."),
        "top": ("_watching:top", "Show what the peers of a hub are doing."),
        "kick": ("_peers:kick", "Close the connections of a peer."),
        "drain": ("_peers:drain", "Have a peer dial again, after its requests in flight."),
        "route": ("_rules:route", "Explain which peer a request would reach, and why."),
        "reload": ("_rules:reload", "Have a hub read its file again."),
        "token": ("_token:command", "Make, list and revoke tokens."),
    },
    "Help": {
        "doctor": ("_doctor:command", "Find out why a hub cannot be reached."),
        "completion": ("_setup:completion", "Print the completion script of a shell."),
        "service": ("_setup:service", "Run a command as a system service."),
    },
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [verb for verbs in VERBS.values() for verb in verbs]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        for verbs in VERBS.values():
            if name in verbs:
                module, _, attribute = verbs[name][0].partition(":")
                found: click.Command = getattr(import_module(f"restsock.cli.{module}"), attribute)
                return found
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, verbs in VERBS.items():
            with formatter.section(section):
                formatter.write_dl([(verb, text) for verb, (_, text) in verbs.items()])


@click.group(
    "restsock",
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="restsock %(version)s")
def command() -> None:
    """HTTP over one WebSocket, in both directions: hubs, peers, and calls to them.

    Data goes to stdout, everything else to stderr. Exit codes: 0 success, 1 failure, 2 wrong use,
    3 no such peer, 4 refused, 5 time-out, 130 interrupted.
    """


def run(args: Sequence[str] | None) -> int:
    """Runs the command, and turns what it raises into a line and an exit code."""
    try:
        result: Any = command.main(
            None if args is None else list(args), prog_name="restsock", standalone_mode=False
        )
    except click.Abort:  # what click makes of a KeyboardInterrupt
        return ExitCode.INTERRUPTED
    except BaseExceptionGroup as group:  # or trio: it may come in any task
        if group.split(KeyboardInterrupt)[1] is not None:
            raise
        return ExitCode.INTERRUPTED
    except Failure as exc:
        exc.show()
        return exc.code
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except RestsockError as exc:
        failure = failure_of(exc)
        failure.show()
        return failure.code
    except BrokenPipeError:
        # Whoever read stdout has left; nothing more is to be written when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILURE
    except OSError as exc:
        Failure(in_words(exc)).show()
        return ExitCode.FAILURE
    return result if isinstance(result, int) else ExitCode.OK
