"""The Flask app that `restsock serve examples.hub.shop:app` makes a peer."""

import flask

app = flask.Flask("shop")


@app.get("/prices/<fruit>")
def price(fruit: str) -> dict[str, object]:
    return {"fruit": fruit, "euros": 2.5, "asked at": flask.request.host}
