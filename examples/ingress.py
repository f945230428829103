"""Ordinary HTTP clients call peers by name, through the port that the peers dial."""

import hashlib
import hmac

import flask
import requests

import restsock.sync
from restsock.auth import Addresses, BearerTokens, all_of
from restsock.ingress import Ingress, Passed, Route, Webhook

app = flask.Flask("edge-1")


@app.get("/pets")
def pets() -> list[str]:
    return ["Rex", "Tom"]


@app.get("/who")
def who() -> str:
    return f"{flask.request.headers['Restsock-Identity']} at {flask.request.url}"


@app.post("/hook")
def hook() -> str:
    return f"{len(flask.request.get_data())} bytes, signed"


def main() -> None:
    passed: list[Passed] = []
    ingress = Ingress(
        access=all_of(Addresses("127.0.0.0/8"), BearerTokens({"t0k3n": "anna"})),
        routes=[Route("hooks.example", "edge-1", webhook=Webhook("github", "s3cr3t"))],
        on_passed=passed.append,
    )
    with (
        restsock.sync.listen("127.0.0.1", 0, ingress=ingress) as server,
        restsock.sync.connect(server.url, app=app, name="edge-1"),
        requests.Session() as session,
    ):
        url = f"http://127.0.0.1:{server.address[1]}"
        token = {"Authorization": "Bearer t0k3n"}

        by_host = {"Host": "edge-1.localhost"}
        print(session.get(f"{url}/pets", headers=by_host).status_code, "without a token")
        print(session.get(f"{url}/pets", headers={**by_host, **token}).json(), "by its host")

        by_field = {"Restsock-Peer": "edge-1", **token}
        print(session.get(f"{url}/who", headers=by_field).text, "by the field")
        print(session.get(f"{url}/_/edge-1/who", headers=token).text, "by the prefix")

        body = b'{"event": "push"}'
        signature = hmac.new(b"s3cr3t", body, hashlib.sha256).hexdigest()
        signed = {"Host": "hooks.example", "X-Hub-Signature-256": f"sha256={signature}"}
        print(session.post(f"{url}/hook", headers=signed, data=body).text)
        print(session.post(f"{url}/hook", headers=signed, data=body + b" ").status_code, "forged")

    for one in passed:
        print(f"{one.method} {one.target} for {one.name} by {one.principal}: {one.status}")


if __name__ == "__main__":
    main()
