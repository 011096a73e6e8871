from __future__ import annotations

from hashlib import blake2b
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bookreel.storage.newest import KEPT_BYTES, Newest

TEXTS = st.sampled_from(
    [b"", b"a", b"b", b"x" * KEPT_BYTES, b"x" * (KEPT_BYTES + 1), b"y" * (KEPT_BYTES + 1)]
)


@given(st.lists(st.tuples(TEXTS, st.booleans()), max_size=20))
def test_a_message_repeats_the_one_before_it_however_that_is_kept(said: list[tuple[bytes, bool]]) -> None:
    """Also where a checkpoint was between the two."""
    newest = Newest()
    found = []
    for text, stopped in said:
        if stopped:
            newest = Newest(newest.digest)
        found.append(newest.repeats(text))
        assert newest.digest == blake2b(text, digest_size=16).digest()
    assert found[:1] in ([], [False])
    assert found[1:] == [text == before for (before, _), (text, _) in pairwise(said)]


def test_before_the_first_there_is_none() -> None:
    assert Newest().digest == b""
