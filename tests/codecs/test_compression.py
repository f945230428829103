"""Compression, against other libraries, and its bounds."""

from __future__ import annotations

import bz2
import gzip
import lzma
import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any

import cramjam
import lz4.frame
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from restsock.codecs import CodecError
from restsock.codecs._compression import (
    ALGORITHMS,
    AVRO_ALGORITHMS,
    algorithm_of,
    compressor,
    decompress,
)
from tests.codecs.values import error_of, kind_of

Pack = Callable[[bytes], bytes]

# Other implementations than the ones in use, where there are any.
OTHERS: dict[str, tuple[Pack, Pack]] = {
    "gzip": (gzip.compress, gzip.decompress),
    "zlib": (zlib.compress, zlib.decompress),
    "xz": (lzma.compress, lzma.decompress),
    "zstd": (
        zstandard.ZstdCompressor().compress,
        lambda data: zstandard.ZstdDecompressor().decompress(data, max_output_size=2**24),
    ),
    "lz4": (
        lambda data: bytes(cramjam.lz4.compress(data)),
        lambda data: bytes(cramjam.lz4.decompress(data)),
    ),
    "snappy": (
        lambda data: bytes(cramjam.snappy.compress(data)),
        lambda data: bytes(cramjam.snappy.decompress(data)),
    ),
    "brotli": (
        lambda data: bytes(cramjam.brotli.compress(data)),
        lambda data: bytes(cramjam.brotli.decompress(data)),
    ),
}
NAMES = list(ALGORITHMS)
bodies = st.binary(max_size=300) | st.builds(
    lambda piece, times: piece * times, st.binary(max_size=20), st.integers(0, 20_000)
)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(data=bodies)
def test_another_library_reads_and_writes_the_same(name: str, data: bytes) -> None:
    pack, unpack = OTHERS[name]
    assert unpack(compressor(name)(data)) == data
    assert decompress(name, pack(data), len(data)) == data
    assert decompress(name, compressor(name)(data), len(data)) == data


def size_of(name: str, packed: bytes, most: int) -> int:
    """How much comes out, 0 if that is the one error; whatever else is raised passes."""
    try:
        return len(decompress(name, packed, most))
    except CodecError:
        return 0


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=60)
@given(data=st.binary(min_size=1, max_size=200), choices=st.data())
def test_what_is_damaged_is_an_error_or_within_the_bound(
    name: str, data: bytes, choices: st.DataObject
) -> None:
    packed = bytearray(compressor(name)(data * 3))
    for _ in range(choices.draw(st.integers(1, 3))):
        packed[choices.draw(st.integers(0, len(packed) - 1))] = choices.draw(st.integers(0, 255))
    assert size_of(name, bytes(packed), 500) <= 500


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=60)
@given(data=st.binary(max_size=200))
def test_garbage_is_an_error_or_within_the_bound(name: str, data: bytes) -> None:
    magic = (*ALGORITHMS[name].magic, b"")[0]
    for each in (data, magic + data):
        assert size_of(name, each, 100) <= 100


@pytest.mark.parametrize("name", NAMES)
def test_the_bound_is_exact(name: str) -> None:
    for size in (1, 1000, 65_536, 65_537, 300_000):
        packed = compressor(name)(b"x" * size)
        assert decompress(name, packed, size) == b"x" * size
        assert kind_of(lambda: decompress(name, packed, size - 1)) == "too_large"  # noqa: B023
    assert decompress(name, compressor(name)(b""), 0 + 1) == b""


@pytest.mark.parametrize("name", NAMES)
def test_ends_that_come_too_early_and_what_comes_after_the_end(name: str) -> None:
    packed = compressor(name)(b"some text that goes on for a while" * 10)
    for cut in {1, len(packed) // 2, len(packed) - 1}:
        assert kind_of(lambda: decompress(name, packed[:cut], 10**6)) in {  # noqa: B023
            *("truncated", "malformed")
        }
    assert kind_of(lambda: decompress(name, packed + b"abc", 10**6)) in {"truncated", "malformed"}


@pytest.mark.parametrize("name", ["gzip", "zlib", "xz", "zstd", "lz4", "snappy"])
def test_parts_one_after_another_are_one_message(name: str) -> None:
    packed = compressor(name)(b"abc")
    assert decompress(name, packed * 3, 9) == b"abcabcabc"
    assert kind_of(lambda: decompress(name, packed * 3, 8)) == "too_large"
    if name != "snappy":
        assert kind_of(lambda: decompress(name, compressor(name)(b"") * 1000, 9)) == "too_many"


BOMBS = """
import resource, sys, tracemalloc
from restsock.codecs import CodecError
from restsock.codecs._compression import ALGORITHMS, AVRO_ALGORITHMS, compressor, decompress

table = {"all": ALGORITHMS, "avro": AVRO_ALGORITHMS}[sys.argv[1]]
name = sys.argv[2]
packed = sys.stdin.buffer.read()
decompress(name, compressor(name, table=table)(b"warm"), 100, table=table)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decompress(name, packed, 1024 * 1024, table=table)
except CodecError as exc:
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(exc.kind, (after - before) // 1024)
"""
BOMB_SIZE = 256 * 1024 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="it measures in kilobytes, as Linux does")
@pytest.mark.parametrize(
    ("table", "name"),
    [
        *(("all", name) for name in NAMES),
        *(("avro", name) for name in ("deflate", "bzip2", "xz", "zstandard")),
    ],
)
def test_a_bomb_is_refused_before_it_goes_off(table: str, name: str) -> None:
    """A process of its own never has the memory of what would come out."""
    algorithms = {"all": ALGORITHMS, "avro": AVRO_ALGORITHMS}[table]
    # Snappy makes a twentieth of it at best, so its bomb is smaller.
    size = BOMB_SIZE // 16 if name in {"snappy", "lz4", "bzip2", "xz"} else BOMB_SIZE // 4
    packed = compressor(name, table=algorithms)(bytes(size))
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, table, name],
        input=packed,
        check=True,
        capture_output=True,
        timeout=50,
    )
    kind, megabytes = done.stdout.decode().split()
    assert kind == "too_large"
    # A decompressor may look back 8 MiB, and there is a buffer for what comes out.
    assert int(megabytes) < 12


def test_ten_megabytes_in_ten_kilobytes() -> None:
    packed = gzip.compress(bytes(10 * 2**20))
    assert len(packed) < 11 * 1024
    error = error_of(lambda: decompress("gzip", packed, 2**20))
    assert (str(error), error.kind) == ("more than 1048576 bytes once decompressed", "too_large")


def test_what_takes_too_much_memory_to_look_back() -> None:
    lzma_filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**30}]
    assert kind_of(lambda: decompress("xz", lzma.compress(b"a", filters=lzma_filters), 99)) == (
        "malformed"
    )
    wide = zstandard.ZstdCompressionParameters(window_log=27)
    packer = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    packed = packer.compress(b"a" * 1000) + packer.flush()
    assert kind_of(lambda: decompress("zstd", packed, 2000)) == "malformed"
    assert decompress("xz", lzma.compress(b"a", preset=9), 99) == b"a"


SNAPPY_START = b"\xff\x06\x00\x00sNaPpY"


@pytest.mark.parametrize(
    ("chunks", "kind"),
    [
        (b"\x00\x05\x00\x00abcd\x00", "malformed"),  # a sum that is wrong
        (b"\x00\xff\xff\xffabcd", "truncated"),
        (b"\x01\x02\x00\x00ab", "malformed"),  # shorter than its sum
        (b"\x00\x04\x00\x00abcd", "malformed"),
        (b"\x00\x09\x00\x00abcd\xff\xff\xff\xff\x0f", "malformed"),  # 4 GiB of one chunk
        (b"\x00\x09\x00\x00abcd\xff\xff\xff\xff\xff", "malformed"),
        (b"\x02\x00\x00\x00", "unsupported"),  # a chunk that must not be skipped
    ],
)
def test_chunks_of_snappy_that_cannot_be(chunks: bytes, kind: str) -> None:
    assert kind_of(lambda: decompress("snappy", SNAPPY_START + chunks, 2**20)) == kind


def test_chunks_of_snappy_that_are_skipped() -> None:
    packed = compressor("snappy")(b"abc")
    assert packed.startswith(SNAPPY_START)
    padded = packed + b"\xfe\x02\x00\x00xx\x80\x01\x00\x00y" + packed
    assert decompress("snappy", padded, 100) == b"abcabc"
    assert kind_of(lambda: decompress("snappy", packed[10:], 100)) == "malformed"


def test_each_is_found_by_how_it_begins() -> None:
    for name in NAMES:
        packed = compressor(name)(b"some text")
        assert algorithm_of(packed) == (name if name != "brotli" else None)
    for level in range(10):
        assert algorithm_of(zlib.compress(b"some text", level)) == "zlib"
    for data in (b"", b"\x1f", b"{}", b"BZh91AY", bz2.compress(b"a"), b"<13>x"):
        assert algorithm_of(data) is None


@pytest.mark.parametrize("name", NAMES)
def test_levels(name: str) -> None:
    low, high = ALGORITHMS[name].levels
    for level in {low, high} if low != high else set():
        assert decompress(name, compressor(name, level)(b"abc" * 99), 999) == b"abc" * 99
    for wrong in (low - 1, high + 1, "9", True, 1.5):
        with pytest.raises(ValueError, match="level"):
            compressor(name, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", AVRO_ALGORITHMS)
def test_the_blocks_of_avro(name: str) -> None:
    for data in (b"", b"abc" * 100):
        packed = compressor(name, table=AVRO_ALGORITHMS)(data)
        assert decompress(name, packed, 300, table=AVRO_ALGORITHMS) == data
    assert kind_of(lambda: decompress(name, packed, 299, table=AVRO_ALGORITHMS)) == "too_large"
    assert kind_of(lambda: decompress(name, packed[:-5], 300, table=AVRO_ALGORITHMS)) in {
        *("truncated", "malformed")
    }


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("zstd", "backports.zstd", "backports.zstd"),
        ("lz4", "lz4.frame", "lz4"),
        ("snappy", "cramjam", "cramjam"),
        ("brotli", "brotli", "brotli"),
    ],
)
def test_a_library_that_is_missing(
    name: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, module, None)
    needed = f"needs {package}: pip install 'restsock[codecs]'"
    with pytest.raises(ImportError, match="needs") as caught:
        compressor(name)
    assert str(caught.value) == needed
    error = error_of(lambda: decompress(name, b"", 1))
    assert (str(error), error.kind) == (f"{name} {needed}", "unsupported")


class PanicException(BaseException):
    """As libraries in Rust have it."""


@pytest.mark.parametrize(
    ("raised", "kind"), [(MemoryError, "too_large"), (PanicException, "malformed")]
)
def test_a_library_that_gives_up(
    raised: type[BaseException], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expand() -> Any:
        def fail(data: bytes, most: int) -> bytes:
            raise raised

        return fail

    monkeypatch.setitem(ALGORITHMS, "gzip", ALGORITHMS["gzip"]._replace(expand=expand))
    assert kind_of(lambda: decompress("gzip", b"", 1)) == kind
    raised = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        decompress("gzip", b"", 1)


def test_lz4_of_its_own_library() -> None:
    assert decompress("lz4", lz4.frame.compress(b"abc"), 3) == b"abc"
