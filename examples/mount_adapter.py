"""Mount the adapter: everything else about `requests` stays as it is."""

from collections.abc import Iterator

import flask
import requests
import urllib3

import restsock.sync

app = flask.Flask(__name__)
app.secret_key = "only for the cookie of this example"


@app.post("/login")
def login() -> flask.Response:
    flask.session["user"] = flask.request.form["user"]
    return flask.make_response(flask.redirect("/me"))


@app.get("/me")
def me() -> str:
    return f"hello {flask.session['user']}"


@app.put("/notes/<name>")
def put_note(name: str) -> dict[str, object]:
    return {"name": name, "bytes": len(flask.request.get_data())}


def main() -> None:
    with (
        restsock.sync.listen("127.0.0.1", 0) as server,
        restsock.sync.connect(server.url, app=app, name="edge-1"),
        requests.Session() as session,
    ):
        # One adapter serves any number of threads and sessions, also after a reconnect.
        # A request that provably never reached the app is sent again, whatever its method.
        retries = urllib3.Retry(connect=3, read=0)
        session.mount("http://edge-1/", server.adapter("edge-1", max_retries=retries))
        # The first timeout is for reaching the peer, the second for each wait for its next bytes.
        timeout = (3.05, 10)

        answer = session.post("http://edge-1/login", data={"user": "ada"}, timeout=timeout)
        redirects = [step.status_code for step in answer.history]
        print("cookie kept, redirect followed:", answer.text, redirects)

        def lines() -> Iterator[bytes]:
            for number in range(3):
                yield f"line {number}\n".encode()

        answer = session.put("http://edge-1/notes/a", data=lines(), timeout=timeout)
        print("a generator as body, sent while it runs:", answer.json())

        # Any other URL of the session is reached over a socket, as usual.
        elsewhere = session.get_adapter("http://elsewhere/")
        print("adapter for http://elsewhere/:", type(elsewhere).__name__)


if __name__ == "__main__":
    main()
