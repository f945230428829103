"""The part of the demo that calls the store by its operations instead of by paths.

The contract comes from the store itself, through the tunnel. No code is generated, and a call that
breaks the contract never leaves the hub.
"""

import inspect
from collections.abc import Callable

import requests

from restsock.openapi import APIClient, ArgumentError, OperationFailed


def call_by_operation(session: requests.Session, store: str, say: Callable[[str], None]) -> None:
    """Calls some operations, right and wrong.

    Args:
        session: has the store's adapter mounted.
        store: its URL.
        say: takes what happened, line by line.
    """
    api = APIClient(session, "/openapi.json", base_url=store, timeout=(5, 10))
    say(f"operations: {', '.join(api.operations)}")
    say(f"getPet{inspect.signature(api.getPet)}")

    pets = api.listPets().json()
    say(f"api.listPets(): {', '.join(pet['name'] for pet in pets)}")
    pet = api.createPet(body={"name": "Bella", "kind": "goat"}).json()
    say(f"api.createPet(body=...): {pet['name']} is pet {pet['id']}")
    say(f"api.getPet(number={pet['id']}): a {api.getPet(number=pet['id']).json()['kind']}")

    try:
        api.getPet(nr=1)
    except ArgumentError as error:
        say(f"not sent: {error}")
    try:
        api.getPet(number=99)
    except OperationFailed as error:
        say(f"sent, and refused there: {error}")
