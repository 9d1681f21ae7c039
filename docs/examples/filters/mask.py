"""Masks a word in text responses while they stream through, also where two chunks cut it apart."""

from collections.abc import AsyncIterator, Mapping

from sidecar.model import Handler, Request, Response


async def mask_word(request: Request, forward: Handler, *, settings: Mapping[str, str]) -> Response:
    """Write stars over the word; other bytes pass as they come."""
    request.headers.set("Accept-Encoding", "identity")  # a compressed body has no words
    request.headers.discard("Range")  # and half a body may have half of one
    response = await forward(request)
    is_text = (response.headers.get("Content-Type") or "").startswith("text/")
    if request.method == "HEAD" or not is_text or response.headers.get("Content-Encoding"):
        return response
    word = settings["word"].encode()
    if isinstance(response.body, bytes):
        response.set_body(response.body.replace(word, b"*" * len(word)))
    else:
        response.set_body(masked(response.body, word))
    response.headers.discard("ETag", "Accept-Ranges")  # they speak of the body that was
    return response


async def masked(body: AsyncIterator[bytes], word: bytes) -> AsyncIterator[bytes]:
    """Pass the body on, holding back only what may be the beginning of the word."""
    kept = b""
    async for chunk in body:
        kept = (kept + chunk).replace(word, b"*" * len(word))
        held = next((size for size in range(len(word) - 1, 0, -1) if kept.endswith(word[:size])), 0)
        ready = len(kept) - held
        if ready:
            yield kept[:ready]
        kept = kept[ready:]
    if kept:
        yield kept
