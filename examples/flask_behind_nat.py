"""Serve a Flask app from behind NAT: it opens no port, dials out, and can still be called."""

import flask
import requests

import restsock.sync

app = flask.Flask(__name__)
PETS = {1: "Rex", 2: "Tom"}


@app.get("/pets/<int:number>")
def pet(number: int) -> flask.Response:
    if number not in PETS:
        flask.abort(404)
    return flask.jsonify(number=number, name=PETS[number])


def main() -> None:
    # The listener runs somewhere with an address.
    with restsock.sync.listen("127.0.0.1", 0) as server:
        # The peer with the app has none. It usually runs on another machine.
        with restsock.sync.connect(server.url, app=app, name="edge-1"):
            session = requests.Session()
            session.mount("http://edge-1/", server.adapter("edge-1"))

            answer = session.get("http://edge-1/pets/1", timeout=(3, 10))
            print(answer.status_code, answer.json())

            answer = session.get("http://edge-1/pets/7", timeout=(3, 10))
            print(answer.status_code, answer.reason)


if __name__ == "__main__":
    main()
