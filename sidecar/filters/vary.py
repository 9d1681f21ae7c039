"""The `Vary` field as filters extend it (RFC 9110 §12.5.5). Pure: knows header lines only."""

from sidecar.model import Headers


def add_vary(headers: Headers, name: bytes) -> None:
    """Say that the response depends on the request field `name`, once; `Vary: *` says more already."""
    wanted = name.lower()
    last = -1
    for at, (field, value) in enumerate(headers):
        if len(field) == 4 and field.lower() == b"vary":
            members = {member.strip() for member in value.lower().split(b",")}
            if wanted in members or b"*" in members:
                return
            last = at
    if last < 0:
        headers.append((b"Vary", name))
    else:
        field, value = headers[last]
        headers[last] = (field, b"%b, %b" % (value, name) if value.strip() else name)
