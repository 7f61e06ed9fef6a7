"""Decoding bodies of requests, without a server."""

import sys
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest

from riffusion.errors import InputError, ServerError
from riffusion.serving.model.request_body import (
    MAX_VALUES,
    decode_json,
    decode_msgpack,
    guard_msgpack_decoder,
)


@pytest.mark.parametrize(
    "value", [{}, {"a": [1, 2.5, None, True, "ä", {"b": [[]]}]}, {"a": b"bytes"}, [1, [2]], "text"]
)
def test_msgpack_has_the_types_of_json(value: Any) -> None:
    assert decode_msgpack(msgpack.packb(value)) == value


def test_the_largest_number_of_values() -> None:
    def values(count: int) -> dict[str, list[int]]:
        return {"a": [0] * count}

    most = MAX_VALUES - 3  # the map, its value and the list count, too
    assert decode_msgpack(msgpack.packb(values(most))) == values(most)
    assert decode_json(b'{"a":[0' + b",0" * (MAX_VALUES - 2) + b"]}")
    with pytest.raises(InputError, match=r"more than 20000 values"):
        decode_msgpack(msgpack.packb(values(most + 1)))
    with pytest.raises(InputError, match=r"more than 20000 values"):
        decode_json(b'{"a":[0' + b",0" * (MAX_VALUES - 1) + b"]}")


def test_the_truss_server_decodes_msgpack_by_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    truss = SimpleNamespace(truss_msgpack_deserialize=None)
    monkeypatch.setitem(sys.modules, "_truss_shared.serialization", truss)
    for _ in range(2):
        guard_msgpack_decoder()
        assert truss.truss_msgpack_deserialize is decode_msgpack


def test_a_truss_server_whose_decoder_has_another_name_is_not_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "_truss_shared.serialization", SimpleNamespace())
    with pytest.raises(ServerError, match="msgpack"):
        guard_msgpack_decoder()
