"""What wsproto alone makes of the bytes of a peer: the authority for the fast path."""

from __future__ import annotations

from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, ParseFailed

from restsock.protocol import (
    BinaryMessage,
    CloseReceived,
    Ping,
    Pong,
    TextMessage,
    WebSocketEvent,
)


def told_by_wsproto(
    data: bytes, *, client: bool, max_message: int
) -> tuple[list[WebSocketEvent], int | None]:
    """What wsproto alone makes of bytes, and the close code of its error, if it has one."""
    protocol = FrameProtocol(client=client, extensions=[])
    protocol.receive_bytes(data)
    events: list[WebSocketEvent] = []
    parts: list[bytes | str] = []
    size = 0
    try:
        for frame in protocol.received_frames():
            payload = frame.payload
            if frame.opcode is Opcode.CLOSE:
                assert isinstance(payload, tuple)
                events.append(CloseReceived(int(payload[0]), payload[1] or ""))
                break
            assert not isinstance(payload, tuple)
            if frame.opcode is Opcode.PING:
                assert not isinstance(payload, str)
                events.append(Ping(bytes(payload)))
            elif frame.opcode is Opcode.PONG:
                assert not isinstance(payload, str)
                events.append(Pong(bytes(payload)))
            else:
                parts.append(payload if isinstance(payload, str) else bytes(payload))
                size += len(payload.encode() if isinstance(payload, str) else payload)
                if size > max_message:
                    return events, CloseReason.MESSAGE_TOO_BIG
                if frame.message_finished:
                    if isinstance(parts[0], str):
                        events.append(TextMessage("".join(p for p in parts if isinstance(p, str))))
                    else:
                        whole = b"".join(p for p in parts if isinstance(p, bytes))
                        events.append(BinaryMessage(whole))
                    parts, size = [], 0
    except ParseFailed as exc:
        return events, int(exc.code)
    return events, None
