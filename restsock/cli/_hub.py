"""`restsock hub`: peers, ingress and admin API in one process."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._collector import collect_seldom
from ._failures import Failure
from ._options import PATH, json_option, output_options
from ._variables import check_variables

if TYPE_CHECKING:
    from restsock.hub import Config, Hub

    from ._output import Output
    from ._panel import View

__all__ = ["command", "read_config", "run_hub"]


@click.command("hub", short_help="Run a hub: peers, ingress and admin API.")
@click.option("-c", "--config", "path", type=PATH, help="The file of the hub, in TOML.")
@click.option("--listen", metavar="HOST:PORT", help="Where peers dial in.")
@click.option(
    "--ingress", metavar="HOST:PORT", help="Where plain HTTP arrives; by default the same address."
)
@click.option("--admin", metavar="HOST:PORT", help="Where the admin API is.")
@click.option("--domain", multiple=True, help="Peers are hosts below it: NAME.DOMAIN.")
@click.option("--tls-cert", type=PATH, help="The certificate, in PEM.")
@click.option("--tls-key", type=PATH, help="Its private key.")
@click.option("--tokens", type=PATH, help="The tokens of peers: see restsock token.")
@click.option("--public", is_flag=True, help="Let anybody in, from anywhere, without tokens.")
@click.option("--dev", is_flag=True, help="For development: on loopback, with a new admin token.")
@json_option
@output_options
def command(
    *,
    output: Output,
    path: Path | None,
    listen: str | None,
    ingress: str | None,
    admin: str | None,
    domain: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    tokens: Path | None,
    public: bool,
    dev: bool,
) -> int:
    """Run a hub: it accepts peers, passes HTTP on to them, and serves an admin API.

    \b
    restsock hub
    restsock hub -c /etc/restsock/hub.toml

    Options override the file. Without either, it listens only on this machine. The URL of the
    ingress is the only line on stdout. SIGTERM and Ctrl-C finish requests in flight first; SIGHUP
    reloads the file.
    """
    overrides = {
        "peers.listen": listen,
        "ingress.listen": ingress,
        "admin.listen": admin,
        "hub.domain": list(domain) or None,
        "tls.certificate": _absolute(tls_cert),
        "tls.key": _absolute(tls_key),
        "peers.tokens": _absolute(tokens),
        "peers.public": public or None,
        "ingress.public": public or None,
        "hub.dev": dev or None,
    }
    return run_hub(read_config(path, overrides), output)


def run_hub(config: Config, output: Output) -> int:
    """Runs a hub until it ends, and gives the exit code.

    Raises:
        Failure: It cannot be run.
    """
    output.start_logging(config.log.format, logging.WARNING if output.panel else logging.NOTSET)
    import trio

    collect_seldom()
    return trio.run(_run, config, output)


def read_config(
    path: Path | None, overrides: dict[str, Any] | None = None, *, alone: bool = False
) -> Config:
    """Reads the file of a hub, or of a gateway alone, and checks all that it says and names.

    Raises:
        Failure: It cannot be used.
        UsageError: There is a variable that looks like ours, and that neither we nor the file read.
    """
    from restsock.hub import ConfigError, check, load

    try:
        config = load(path, overrides, alone=alone)
        check_variables(config.variables.values())
        check(config)
    except ConfigError as exc:
        raise _wrong(exc, path, alone=alone) from None
    except OSError as exc:
        name = exc.filename or path
        raise Failure(f"cannot read {name}: {exc.strerror or exc}", "check its name") from None
    return config


def _wrong(error: ValueError, path: Path | None, *, alone: bool) -> Failure:
    where = f"{path}: " if path is not None else ""
    check = "gateway check" if alone else "check-config"
    hint = "" if path is None else f"correct it, then: restsock {check} {path}"
    return Failure(f"{where}{error}", hint)


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


async def _run(config: Config, output: Output) -> int:
    from restsock.hub import ConfigError, Hub

    from ._peer import Signals, reporting
    from ._traffic import Traffic

    hub = Hub(config)
    signals = Signals(hub, hangup=False)
    try:
        async with signals.drained(), hub:
            parts = _parts(hub)
            output.event(
                "listening",
                ", ".join(f"{name} at {' and '.join(urls)}" for name, urls in parts.items()),
                peers=hub.peers_url,
                ingress=hub.ingress_url,
                admin=hub.admin_url,
                channels=_channels(hub),
            )
            if not output.as_json:
                for url in _channels(hub) if config.alone else [hub.ingress_url]:
                    output.data(url)
            async with reporting(output, Traffic(), lambda: _look(hub)):
                await hub.reload_on_signal()
    except ConfigError as exc:
        raise _wrong(exc, config.path, alone=config.alone) from None
    return 0 if signals.exit_code is None else signals.exit_code


def _channels(hub: Hub) -> list[str]:
    """The URLs of the channels."""
    base = f"ws{hub.ingress_url.removeprefix('http').rstrip('/')}"
    return [f"{base}{path}" for path in hub.gateway]


def _parts(hub: Hub) -> dict[str, list[str]]:
    """What is where, of what there is."""
    found = {}
    if hub.config.peers.enabled:
        found["peers"] = [hub.peers_url]
    if channels := _channels(hub):
        found["channels"] = channels
    if hub.config.admin.enabled:
        found["admin API"] = [hub.admin_url]
    return found


def _look(hub: Hub) -> View:
    from ._panel import View
    from ._traffic import Served, Traffic

    health, traffic = hub.server.health(), Traffic()
    counted = hub.passed.total
    traffic.total = counted.requests
    traffic.in_flight = hub.server.statistics().traffic.open_streams
    traffic.classes = {
        int(kind[0]) if kind[0].isdigit() else 0: count for kind, count in counted.by_class.items()
    }
    for record in hub.passed:
        passed = record.value
        place = f"{passed.name or '-'} {passed.target}"
        traffic.last.append(Served(passed.method, place, passed.status, passed.seconds))
        traffic.latencies.append(passed.seconds)
    status = "listening" if health.ok else f"not well: {'; '.join(health.reasons)}"
    rows = []
    if hub.config.peers.enabled:
        rows.append(("Peers", f"{len(hub.server.connections)} at {hub.peers_url}"))
    if hub.config.ingress.enabled:
        rows.append(("Ingress", hub.ingress_url))
    if hub.gateway:
        where = ", ".join(_channels(hub))
        rows.append(("Channels", f"{len(hub.gateway.sessions)} clients at {where}"))
    if hub.config.admin.enabled:
        rows.append(("Admin API", hub.admin_url))
    return View(health.ok, status, tuple(rows), traffic)
