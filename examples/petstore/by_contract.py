"""The part of the demo in which both ends check the contract.

The store validates its requests and its answers (store.py). Here the hub's adapter does the same
for its calls, with the contract that it gets from the store.
"""

from collections.abc import Callable

import requests

import restsock


def call_by_contract(
    server: restsock.Server, store: str, say: Callable[[str], None], timeout: tuple[float, float]
) -> None:
    """Makes a wrong call, which is not sent, and a right one, whose answer is wrong.

    Args:
        server: the store's name there is `petstore`.
        store: its URL.
        say: takes what happened, line by line.
        timeout: seconds to connect and to read.
    """
    session = requests.Session()
    session.mount(store, server.adapter("petstore", openapi=True))
    try:
        session.post(f"{store}/pets", json={"name": "", "kind": "cat"}, timeout=timeout)
    except restsock.RequestValidationError as error:
        say(f"never left the hub: {error}")
    answer = session.get(f"{store}/pets/1/weight", timeout=timeout)
    say(f"never left the store: {answer.status_code}, {answer.json()['detail']}")
