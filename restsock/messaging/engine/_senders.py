"""Who has sent something, and what is remembered of it: within bounds.

Where there is no room for more, it takes the place of the sender that is away for longest.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from ._inbox import Epoch, Inbox, Line
from ._peer import Peer, Sender

if TYPE_CHECKING:
    from restsock.messaging._options import MessagingOptions

    from ._context import Context
    from ._payloads import Data
    from ._records import InboxKey, Mark

__all__ = ["Senders", "new_line"]


class Senders:
    """See above.

    Args:
        context: what the parts of an engine share.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._options = context.options
        # By name, the one that was connected last at the end.
        self._senders: OrderedDict[str, Sender] = OrderedDict()
        self._remembered = 0  # epochs and lines

    def sender(self, name: str) -> Sender:
        """The sender of that name; a new one if there is none yet."""
        found = self._senders.get(name)
        if found is None:
            found = self._senders[name] = Sender(name)
        return found

    def restore(self, mark: Mark) -> None:
        """What a sender is known to have sent, from a former run."""
        inbox = self.sender(mark.sender).inboxes.setdefault(
            mark.channel, Inbox(mark.sender, mark.channel)
        )
        self._keep(inbox, Epoch(*mark.key, mark.upto, mark.seqs))

    def connected(self, sender: Sender) -> None:
        """A peer is connected."""
        sender.peers += 1
        self._senders.move_to_end(sender.name)

    def disconnected(self, sender: Sender) -> None:
        """A peer is not connected any more."""
        sender.peers -= 1
        if not sender.peers and (sender.temporary or not (sender.inboxes or sender.lines)):
            del self._senders[sender.name]
            self._remembered -= sender.remembered

    def inbox(self, sender: Sender, data: Data) -> Inbox | None:
        """Where a numbered message goes; `None` if that would be too much to remember."""
        inbox = sender.inboxes.get(data.channel)
        if inbox is not None and data.epoch in inbox.epochs:
            if len(inbox.epochs) > 1:
                inbox.epochs.move_to_end(data.epoch)
            return inbox
        if not self._has_room():
            return None
        if inbox is None:
            if len(sender.inboxes) >= self._options.max_channels:
                return None
            inbox = sender.inboxes[data.channel] = Inbox(sender.name, data.channel)
        upto = (data.low or data.seq) - 1
        self._keep(inbox, Epoch(sender.name, data.channel, data.epoch, upto))
        return inbox

    def _keep(self, inbox: Inbox, epoch: Epoch) -> None:
        inbox.epochs[epoch.epoch] = epoch
        self._remembered += 1
        if len(inbox.epochs) > self._options.max_epochs:
            old = next(
                (one for one in inbox.epochs.values() if one.idle and one is not epoch), None
            )
            if old is not None:
                del inbox.epochs[old.epoch]
                self._forget(old)

    def _has_room(self) -> bool:
        """Whether one more may be remembered: if need be, instead of who is away for longest."""
        if self._remembered < self._options.max_inboxes:
            return True
        for sender in self._senders.values():
            if not sender.peers and sender.idle:
                del self._senders[sender.name]
                self._remembered -= len(sender.lines)
                for inbox in sender.inboxes.values():
                    for epoch in inbox.epochs.values():
                        self._forget(epoch)
                return True
        return False

    def _forget(self, epoch: Epoch) -> None:
        self._remembered -= 1
        self._context.effects.forget.append((epoch.sender, epoch.channel, epoch.epoch))
        self._context.dirty()

    def knows(self, key: InboxKey) -> bool:
        """Whether an epoch is remembered; it may have been forgotten before, and come again."""
        name, channel, epoch = key
        sender = self._senders.get(name)
        inbox = None if sender is None else sender.inboxes.get(channel)
        return inbox is not None and epoch in inbox.epochs

    def line(self, sender: Sender, channel: str) -> Line | None:
        """Where any other message goes; `None` likewise."""
        line = sender.lines.get(channel)
        if line is not None:
            return line
        if len(sender.lines) >= self._options.max_channels or not self._has_room():
            return None
        self._remembered += 1
        line = sender.lines[channel] = new_line(self._options, sender.name, channel)
        return line

    def begin(self, peer: Peer, channel: str, epoch: str, seq: int) -> None:
        """What a peer publishes follows this number, if it is not known better."""
        line = self.line(peer.sender, channel)
        if line is not None:
            line.begin_epoch(epoch, seq)


def new_line(options: MessagingOptions, sender: str, channel: str) -> Line:
    """A line of a channel."""
    return Line(
        sender,
        channel,
        epochs=options.max_epochs,
        ids=options.dedup_messages,
        seconds=options.dedup_seconds,
    )
