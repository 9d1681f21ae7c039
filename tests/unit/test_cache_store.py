"""The store without a disk: what it finds, and that nothing a peer does makes it grow for ever."""

from sidecar.filters.cache.directives import Said
from sidecar.filters.cache.entry import Came, Entry, Uri, make
from sidecar.filters.cache.fields import collect
from sidecar.filters.cache.store import MOST_MARKS, MOST_VARIANTS, Room, Store

NOW = 784_111_777.0
ROOM = Room(memory=1 << 20, entry=1 << 18)
URI: Uri = ("http", "shop.example", b"/a")


def entry(
    vary: bytes = b"", asked: dict[bytes, bytes] | None = None, *, uri: Uri = URI, body: bytes = b"hello"
) -> Entry:
    lines = [(b"Vary", vary)] if vary else []
    came = Came(uri, (), asked or {}, NOW, NOW, 200, b"OK", lines, collect(lines))
    made = make(came, Said(max_age=60), 60, length=len(body))
    made.body = body
    return made


def test_an_entry_is_found_by_what_its_vary_names() -> None:
    store = Store()
    one, two = entry(b"X-A", {b"x-a": b"1"}), entry(b"X-A", {b"x-a": b"2"})
    store.put(one, ROOM)
    store.put(two, ROOM)
    assert store.select(URI, (), {b"x-a": b"1"}) is one
    assert store.select(URI, (), {b"x-a": b"2"}) is two
    assert store.select(URI, (), {}) is None
    assert store.select(("http", "other", b"/a"), (), {}) is None


def test_where_some_answers_lack_vary_one_that_has_it_is_preferred() -> None:
    store = Store()
    plain, varied = entry(), entry(b"X-A", {b"x-a": b"1"})
    store.put(plain, ROOM)
    store.put(varied, ROOM)
    assert store.select(URI, (), {b"x-a": b"1"}) is varied
    assert store.select(URI, (), {}) is plain
    assert set(store.names_of(URI)) == {(), (b"x-a",)}


def test_the_same_key_is_replaced_and_counted_once() -> None:
    store = Store()
    store.put(entry(), ROOM)
    size = store.size
    store.put(entry(), ROOM)
    assert (len(store), store.size) == (1, size)


def test_variants_and_different_varys_of_one_uri_are_limited() -> None:
    store = Store()
    for at in range(MOST_VARIANTS + 10):
        store.put(entry(b"X-A", {b"x-a": b"%d" % at}), ROOM)
    assert len(store) == MOST_VARIANTS
    for at in range(20):
        store.put(entry(b"X-%d" % at), ROOM)
    assert len(store.names_of(URI)) == 8


def test_what_has_no_room_goes() -> None:
    store = Store()
    for at in range(40):
        store.put(entry(uri=("http", "a", b"/%d" % at), body=b"x" * 50_000), ROOM)
    assert store.size <= ROOM.memory
    assert len(store) < 22


def test_an_entry_that_was_replaced_is_not_removed_by_who_still_holds_it() -> None:
    store = Store()
    old, new = entry(), entry()
    store.put(old, ROOM)
    store.put(new, ROOM)
    store.remove(old)
    assert store.select(URI, (), {}) is new
    store.remove(new)
    assert not store.has(URI)
    assert store.names_of(URI) == ()


def test_forgetting_a_uri_forgets_all_its_variants() -> None:
    store = Store()
    for at in range(3):
        store.put(entry(b"X-A", {b"x-a": b"%d" % at}), ROOM)
    assert store.forget(URI) == 3
    assert store.forget(URI) == 0
    assert store.size == 0


def test_marks_end_after_a_while_and_are_limited() -> None:
    store = Store()
    store.mark(URI, 0.0)
    assert store.marked(URI, 119.0)
    assert not store.marked(URI, 120.0)
    store.unmark(URI)
    assert not store.marked(URI, 0.0)
    for at in range(MOST_MARKS + 5):
        store.mark(("http", "a", b"/%d" % at), 0.0)
    assert len(store._marks) == MOST_MARKS
