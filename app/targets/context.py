"""What a target's writer is told of its surroundings."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Context:
    """`allowed_hosts` are the host names and networks (CIDR) inside, to which webhooks may be sent in spite of it."""

    target_id: str
    source_id: str
    corp_id: str
    public_url: str
    allowed_hosts: tuple[str, ...] = ()
