"""What is asked of every server alike, and what a right answer looks like."""

from __future__ import annotations

from typing import NamedTuple

MIB = 1024 * 1024
PIECE = bytes(range(256)) * 256  # 64 KiB, of which large bodies are made

EVENT_PAUSE = 0.005  # seconds before each server-sent event

# A JSON object of 200 bytes, the newline of Flask included; serialized anew for each answer.
SMALL = {
    "id": 7,
    "name": "Rex",
    "tags": ["dog", "brown"],
    "price": 12.5,
    "note": "He likes long walks, short showers and whatever is in the fridge. "
    "Does not bite, as far as anybody knows. Answers to no name at all.",
}
TEN_KB = PIECE[:10_000]
ONE_MIB = PIECE * 16
POST_BODY = PIECE[:1_000]


class Workload(NamedTuple):
    """One kind of request, and the size of its right answer in bytes; 0 for any."""

    title: str
    method: str
    path: str
    body: bytes
    answer: int


WORKLOADS = {
    "small": Workload("GET 200 B JSON", "GET", "/pets/7", b"", 0),
    "10k": Workload("GET 10 KB", "GET", "/ten", b"", len(TEN_KB)),
    "post": Workload("POST 1 KB", "POST", "/pets", POST_BODY, 0),
    "1m": Workload("GET 1 MiB", "GET", "/mib", b"", len(ONE_MIB)),
}


def check(workload: Workload, status: int, content: bytes) -> None:
    """Raises when this is no right answer: a fast error page shall not count."""
    wrong = len(content) != workload.answer if workload.answer else b'"id"' not in content
    if status != 200 or wrong:
        raise RuntimeError(f"a wrong answer to {workload.title}: {status} {content[:100]!r}")
