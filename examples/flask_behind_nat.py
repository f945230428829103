"""Serve a Flask app from behind NAT: it opens no port, it dials out, and is called all the same."""

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
    # Somewhere with an address: the listener.
    with restsock.sync.listen("127.0.0.1", 0) as server:
        # Somewhere without one: the peer with the app. Usually this is another machine.
        with restsock.sync.connect(server.url, app=app, name="edge-1"):
            session = requests.Session()
            session.mount("http://edge-1/", server.adapter("edge-1"))

            answer = session.get("http://edge-1/pets/1", timeout=(3, 10))
            print(answer.status_code, answer.json())

            answer = session.get("http://edge-1/pets/7", timeout=(3, 10))
            print(answer.status_code, answer.reason)


if __name__ == "__main__":
    main()
