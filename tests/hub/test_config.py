"""The file of a hub: every key, its units, and what is said of wrong ones."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import jsonschema
import msgspec
import pytest
import trustme

from restsock.hub import Config, ConfigError, Tokens, check, json_schema, load, parse
from tests.covered import keys

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXAMPLE = Path(__file__).parents[2] / "packaging" / "hub.toml"
# A table that is described once, and may stand at several places.
STEPS = ("rate", "limit", "schema", "cache", "retry", "breaker", "timeout")
REPEATED = (
    *("ingress.tls.", "admin.tls."),
    *(f"channel.routes.{step}." for step in STEPS),
    *("channel.routes.schema", "channel.routes.timeout"),
)


def keys_in(toml: str) -> set[str]:
    """The keys that a text names, also those after a "#"."""
    found: set[str] = set()
    table = ""
    for line in toml.splitlines():
        line = line.removeprefix("#")
        if head := re.match(r"\[+([a-z.]+)\]+", line):
            name = re.sub(r"^(channel\.routes)\..*", r"\1", head[1])
            table = name.replace("access.partners", "access") + "."
        elif key := re.match(r"([a-z_]+) = (.*)", line):
            inner = re.findall(r"[{,] ?([a-z_]+) =", key[2])
            free = key[1] in ("headers", "query", "tell")  # whose names are anything
            inner = [] if free else inner
            found.update(f"{table}{key[1]}.{each}" for each in inner if each != "X")
            if not inner:
                found.add(f"{table}{key[1]}")
    return found


def test_the_example_names_every_key_and_no_other() -> None:
    known = {key for key in keys() if not key.startswith(REPEATED)}
    named = {key for key in keys_in(EXAMPLE.read_text()) if not key.startswith(REPEATED)}
    assert named == known


def test_the_example_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, and with all that is after a "#"."""
    text = EXAMPLE.read_text()
    parse(text)
    uncommented = re.sub(r"(?m)^#(?=[a-z_]+ = |\[)", "", text)
    # The second way to say the same.
    twice = (
        r"(?m)^(webhook = .*secret = .*|password = .*|access = \"partners\" .*instead of.*"
        r"|listen = .*instead of.*|secret = .*)\n"
    )
    everything = re.sub(twice, "", uncommented)
    config = parse(everything)
    assert config.route[0].request_headers.set == {"X-Stage": "live"}
    # And a hub would start with it.
    ca = trustme.CA()
    leaf = ca.issue_cert("hub.example")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "hub.pem")
    leaf.private_key_pem.write_to_path(tmp_path / "hub.key")
    (tmp_path / "webhook.secret").write_text("secret")
    Tokens(tmp_path / "tokens.json").new("edge-1")
    Tokens(tmp_path / "partners.json").new("acme")
    path = tmp_path / "hub.toml"
    path.write_text(text)
    check(load(path))


def test_defaults_in_the_example_are_the_defaults() -> None:
    """Those of the options; the others hold examples, too."""
    text = EXAMPLE.read_text()
    options = text[text.index("[limits]") :]
    config = parse(re.sub(r"(?m)^#", "", options))
    assert config.options == Config().options


def test_defaults_need_no_file() -> None:
    config = load()
    assert config.peers.listen == "localhost:8080"
    assert config.admin.listen == "127.0.0.1:4480"
    check(config)


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("[peer]", "peer", "did you mean 'peers'"),
        ("[peers]\nlissten = 'x:1'", "peers.lissten", "did you mean 'listen'"),
        ("[[route]]\nhost = 'a.example'\npeer = 'b'\npats = '/'", "route[0].pats", "'path'"),
        ("[access.x]\nbaerer = 'f'", "access.x.baerer", "'bearer'"),
        ("[limits]\nmax_strems = 3", "limits.max_strems", "'max_streams'"),
        ("[inspect]\ncapture = 'meta'", "inspect", "not have it yet"),
        ("[peers]\nlisten = 3", "peers.listen", "it has to be a text, and not a whole number"),
        ("[[route]]\nhost = 'a'", "route[0]", "peer"),
        ("[log]\nlevel = 'loud'", "log.level", "it is one of "),
        ("[hub]\ngrace = '3 fortnights'", "hub.grace", "not a duration"),
        ("[hub]\ngrace = '30'", "hub.grace", "not a duration"),
        ("[ingress]\nmax_body = '1QB'", "ingress.max_body", "not a size"),
        ("[limits]\nmax_frame = 3", "limits", "max_frame"),
        ("[timeouts]\nidle = '-1s'", "timeouts.idle", "not a duration"),
        ("[hub]\nstate = '${NO_SUCH_VARIABLE}'", "hub.state", "not set"),
        ("[hub]\nstate = '/x/${HOME}'", "hub.state", "stands alone"),
        ("[tls]\ncertificate = 'a'\npassword = 'b'", "tls.password", "password_file"),
        (
            "[[route]]\nhost = 'a'\npeer = 'b'\nwebhook = {scheme = 'github', secret = 'x'}",
            "route[0].webhook.secret",
            "secret_file",
        ),
        ("[hub]\ngrace = -1", "hub.grace", "grace"),
        ("[ingress]\nmax_body = '" + "9" * 400 + "GiB'", "ingress.max_body", "not a size"),
        ("[peers]\ntokens = '~nobody-of-this-name/x'", "peers.tokens", "no such home"),
        ("hub = 3", "hub", "it has to be a table"),
        ("[channel]\npath = '/ws'", "channel", "write [[channel]]"),
        ("[[channel]]\npath = '/ws'", "channel[0]", "routes is missing"),
        (
            "[[channel]]\npath = '/'\nroutes.a.http = 5000",
            "channel[0].routes.a.http",
            "it has to be a text",
        ),
        (
            "[[channel]]\npath = '/'\nroutes.a = 'http://127.0.0.1'",
            "channel[0].routes.a",
            "it has to be a table, and not a text",
        ),
        (
            "[[channel]]\npath = '/'\npublic = 1\nroutes.a.peer = 'x'",
            "channel[0].public",
            "it has to be true or false",
        ),
        (
            "[[channel]]\npath = '/'\ndialect = 'json-rpc'\nroutes.a.peer = 'x'",
            "channel[0].dialect",
            "did you mean 'jsonrpc'",
        ),
        (
            "[[channel]]\npath = '/'\nroutes.a = { peer = 'x', retry = true }",
            "channel[0].routes.a.retry",
            "it has to be a table",
        ),
        ("[hub", "", "not TOML"),
        ("a = " + "[" * 5000, "", "not TOML"),
    ],
)
def test_what_is_wrong_is_named(text: str, key: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.key == key
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[peers]\nlisten = ':8080'", "peers.tokens"),
        ("[peers]\nlisten = '0.0.0.0:1'\npublic = true", "ingress.access"),
        ("[peers]\nlisten = 'nonsense'", "peers.listen"),
        ("[peers]\nlisten = 'localhost:99999'", "peers.listen"),
        ("[admin]\nlisten = '0.0.0.0:4480'", "admin.tokens"),
        ("[admin]\nlisten = 'localhost:8080'", "admin.listen"),
        ("[hub]\ndev = true\n[ingress]\nlisten = ':80'\npublic = true", "hub.dev"),
        (
            "[ingress]\naccess = 'partner'\n[access.partners]\nbearer = 'f.json'",
            "access.partners.bearer",
        ),
        ("[ingress]\naccess = 'partner'", "ingress.access"),
        ("[access.x]\nany = true", "access.x"),
        ("[access.x]\ncertificate = 'commonName'\ndeny = '10.0.0.1'", "access.x.deny"),
        ("[peers]\ntokens = 'missing.json'", "peers.tokens"),
        ("[admin]\ntokens = 'missing.json'", "admin.tokens"),
        ("[tls]\ncertificate = 'missing.pem'", "tls"),
        ("[ingress.tls]\ncertificate = 'missing.pem'", "ingress.tls"),
        ("[[route]]\nhost = 'a.example:80'\npeer = 'b'", "route[0]"),
        ("[ingress]\nrate = '50/fortnight'", "ingress"),
        (
            "[hub]\ntrusted_proxies = 'x'\n[peers]\npublic = true\n[ingress]\npublic = true",
            "ingress",
        ),
        ("[hub]\ntrusted_proxies = '127.0.0.1'", "peers.tokens"),
        ("[hub]\nclient_ip = 'cloudflare'", "hub.client_ip"),
        ("[hub]\nclient_ip = 'akamai'", "hub.client_ip"),
        ("[hub]\ndomain = 'https://hub.example'", "ingress"),
        ("[hub]\ndomain = '*.hub.example'", "ingress"),
        ("[ingress]\nwait = -1", "ingress"),
        ("[ingress]\nwait = nan", "ingress"),
        ("[ingress]\ntimeout = -1", "ingress"),
        ("[ingress]\nmax_body = -1", "ingress"),
        ("[ingress]\nmax_in_flight = 0", "ingress"),
        (
            "[[route]]\nhost = 'a.example'\npeer = 'b'\n[[route]]\nhost = 'A.example.'\npeer = 'c'",
            "ingress",
        ),
        ("[ingress]\nurl = 'https://hub.example/x'", "ingress"),
    ],
)
def test_what_a_hub_would_not_start_with_is_found(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(parse(text, path=tmp_path / "hub.toml"))
    assert caught.value.key == key


def test_units() -> None:
    config = parse(
        "[hub]\ngrace = '500ms'\n[ingress]\nwait = '2m'\nmax_body = '1.5KiB'\ntimeout = 3\n"
        "[limits]\nmax_body = '1MB'\n[timeouts]\nrequest = '1h'\n[heartbeat]\ninterval = 'none'"
    )
    assert config.options.timeouts.grace == 0.5
    assert (config.ingress.wait, config.ingress.max_body) == (120, 1536)
    assert config.ingress.timeout == 3
    assert config.options.limits.max_body == 1_000_000
    assert config.options.timeouts.request == 3600
    assert config.options.heartbeat.interval is None
    assert parse("[ingress]\nmax_body = 'none'").ingress.max_body is None


def test_overrides_win_and_none_is_no_override(tmp_path: Path) -> None:
    path = tmp_path / "hub.toml"
    path.write_text("[peers]\nlisten = 'localhost:1'\nnames = 'share'")
    config = load(path, {"peers.listen": "localhost:2", "peers.names": None, "hub.domain": ("a",)})
    assert (config.peers.listen, config.peers.names) == ("localhost:2", "share")
    assert config.hub.domain == ("a",)
    with pytest.raises(ConfigError, match="'listen'"):
        load(path, {"peers.listn": "x"})


def test_files_start_from_the_folder_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hub.toml"
    path.write_text("[peers]\ntokens = 'a/b.json'\n[hub]\nstate = '/abs'")
    config = load(path)
    assert config.peers.tokens == str(tmp_path / "a" / "b.json")
    assert config.hub.state == "/abs"


def test_what_is_shown_has_no_value_of_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "s3cr3t-canary")
    config = parse(
        "[tls]\ncertificate = 'a'\npassword = '${CANARY}'\n[hub]\ndomain = ['${CANARY}']\n"
        "[[route]]\nhost = 'a'\npeer = '${CANARY}'\n"
    )
    assert config.tls is not None
    assert config.tls.password == "s3cr3t-canary"
    shown = msgspec.json.encode(config.shown()).decode()
    assert "canary" not in shown
    assert shown.count("${CANARY}") == 3


@pytest.mark.parametrize(
    "text",
    [
        "[peers]\nlisten = '{}'",
        "[log]\nformat = '{}'",
        "[hub]\ngrace = '{}'",
        "[hub]\nname = 'x'\ndomain = '{}'",
        "[peers]\ntokens = '{}'",
        "[ingress]\nrate = '{}'",
        "[ingress]\naccess = '{}'",
        "[[route]]\nhost = '{}'\npeer = 'x'",
        "[[route]]\nhost = 'x'\npeer = 'x'\nwebhook = {{scheme = 'standard', secret = '{}'}}",
    ],
)
def test_no_error_tells_what_a_variable_holds(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a secret: of the wrong variable, or of one that an administrator may not read."""
    monkeypatch.setenv("CANARY", "s3cr3t 'and' \"more\"\\")
    with pytest.raises(ConfigError) as caught:
        check(parse(text.format("${CANARY}")))
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_the_schema_takes_what_loads() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(tomllib.loads(EXAMPLE.read_text()))
    assert not validator.is_valid({"peers": {"listn": "x"}})
    assert validator.is_valid({"ingress": {"wait": "5s"}})
