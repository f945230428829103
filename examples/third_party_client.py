"""An unmodified client library calls a peer, because it takes a `requests.Session`.

This one is requests-openapi, which makes operations from an OpenAPI document. Any library works if
you can set or reach its session, such as bravado's `RequestsClient().session`, for Swagger 2.0.
"""

import flask
import requests
import requests_openapi

import restsock.sync

# The contract; usually it is a file.
SPEC = {
    "openapi": "3.0.3",
    "info": {"title": "Thermostat", "version": "1"},
    "paths": {
        "/rooms/{room}": {
            "parameters": [
                {"name": "room", "in": "path", "required": True, "schema": {"type": "string"}}
            ],
            "get": {
                "operationId": "getRoom",
                "parameters": [{"name": "unit", "in": "query", "schema": {"type": "string"}}],
                "responses": {"200": {"description": "The temperature"}},
            },
            "put": {
                "operationId": "setRoom",
                "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
                "responses": {"204": {"description": "The new temperature is set"}},
            },
        }
    },
}

app = flask.Flask(__name__)
rooms = {"kitchen": 21.0}


@app.get("/rooms/<room>")
def get_room(room: str) -> dict[str, object]:
    unit = flask.request.args.get("unit", "C")
    degrees = rooms[room] if unit == "C" else rooms[room] * 9 / 5 + 32
    return {"room": room, "degrees": degrees, "unit": unit}


@app.put("/rooms/<room>")
def set_room(room: str) -> tuple[str, int]:
    rooms[room] = flask.request.get_json()["degrees"]
    return "", 204


def main() -> None:
    with (
        restsock.sync.listen("127.0.0.1", 0) as server,
        restsock.sync.connect(server.url, app=app, name="edge-1"),
        requests.Session() as session,
    ):
        # This line is all that restsock needs:
        session.mount("http://edge-1/", server.adapter("edge-1"))

        edge = requests_openapi.Server(url="http://edge-1")
        api = requests_openapi.Client(requestor=session, server=edge)
        api.load_spec(SPEC)
        print("operations:", ", ".join(api.operations))
        print("getRoom:", api.getRoom(room="kitchen").json())
        print("setRoom:", api.setRoom(room="kitchen", json={"degrees": 19.5}).status_code)
        print("getRoom:", api.getRoom(room="kitchen", unit="F").json())


if __name__ == "__main__":
    main()
