"""Shards on disk: what was written comes back or is known to be damaged; a bank survives both."""

import errno
import os
import stat
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import table_like
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open

from dtda_lib.models.networks import get_model
from dtda_lib.runs import store as module
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.measures import Measure
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_one_out
from dtda_lib.runs.store import CacheError, DamagedShard, Store, cache_folder

KEY, OTHER = "ab" * 32, "cd" * 32
ARRAYS = {
    "query_loss": np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4),
    "theta": np.arange(10.0).reshape(2, 5)[:, ::2],  # not contiguous
}
READ_ONLY, FULL = OSError(errno.EROFS, "Read-only"), OSError(errno.ENOSPC, "No space left")


def written(folder):
    store = Store(folder)
    store.write(KEY, ARRAYS, 1.5, '{"format":1}')
    return store


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def same(found, expected):
    return found.keys() == expected.keys() and all(
        found[name].dtype == expected[name].dtype and np.array_equal(found[name], expected[name])
        for name in expected
    )


# -------------------------------------------------------------- one file


def test_what_was_written_comes_back(tmp_path):
    store = written(tmp_path)
    arrays, seconds = store.read(KEY)
    assert same(arrays, ARRAYS)
    assert seconds == 1.5
    assert store.has(KEY)
    assert files(tmp_path) == [f"{KEY}.safetensors"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.bool_]),
        hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
    ),
    seconds=st.floats(0, 1e6),
)
def test_any_array_comes_back(tmp_path, array, seconds):
    store = Store(tmp_path)
    store.write(KEY, {"x": array}, seconds, "{}")
    found, took = store.read(KEY)
    assert found["x"].dtype == array.dtype
    assert found["x"].shape == array.shape
    np.testing.assert_array_equal(found["x"], array)
    assert took == pytest.approx(seconds, abs=1e-3)


def test_what_was_never_written_is_missing(tmp_path):
    store = written(tmp_path)
    assert store.read(OTHER) is None
    assert not store.has(OTHER)
    store.set_aside(OTHER)
    aside = store.set_aside(KEY)
    assert store.read(KEY) is None
    assert aside.exists()
    assert aside.parent == store.path(KEY).parent


def test_a_truncated_file_is_damaged(tmp_path):
    store = written(tmp_path)
    raw = store.path(KEY).read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(raw) // 2, len(raw) - 1):
        store.path(KEY).write_bytes(raw[:length])
        with pytest.raises(DamagedShard):
            store.read(KEY)
    store.path(KEY).write_bytes(raw + b"\0")
    with pytest.raises(DamagedShard):
        store.read(KEY)


@pytest.mark.slow
def test_no_flipped_bit_changes_a_result(tmp_path):
    """Each flip is detected, or it lies where no result depends on it (the manifest)."""
    store = written(tmp_path)
    path = store.path(KEY)
    raw = path.read_bytes()
    generator, harmless = np.random.default_rng(0), 0
    for bit in generator.choice(8 * len(raw), size=800, replace=False):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(changed)
        try:
            arrays, seconds = store.read(KEY)
        except DamagedShard:
            continue
        harmless += 1
        assert same(arrays, ARRAYS), f"bit {bit} changed the result"
        assert seconds == 1.5, f"bit {bit} changed the seconds"
    assert harmless < 100


def test_a_shard_under_another_name_is_damaged(tmp_path):
    store = written(tmp_path)
    store.path(OTHER).parent.mkdir(parents=True)
    store.path(KEY).rename(store.path(OTHER))
    with pytest.raises(DamagedShard, match="checksum"):
        store.read(OTHER)


def test_files_are_safetensors_with_a_manifest(tmp_path):
    store = written(tmp_path)
    with safe_open(store.path(KEY), framework="numpy") as file:
        assert file.metadata().keys() == {"sha256", "seconds", "spec"}
        assert file.metadata()["spec"] == '{"format":1}'
    pickled = Store(tmp_path)
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    pickled.path(OTHER).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "x.npy").rename(pickled.path(OTHER))
    with pytest.raises(DamagedShard):
        pickled.read(OTHER)


def test_the_cache_folder_is_the_users_choice(monkeypatch, tmp_path):
    monkeypatch.setenv("DTDA_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    for off in ("off", "OFF"):
        monkeypatch.setenv("DTDA_CACHE", off)
        assert cache_folder() is None
    for mistake in ("  ", "OFF ", " runs", "~nosuchuser", "~nosuchuser/runs"):
        monkeypatch.setenv("DTDA_CACHE", mistake)
        with pytest.raises(CacheError, match=f"DTDA_CACHE='{mistake}'"):
            cache_folder()
    monkeypatch.setenv("DTDA_CACHE", "a" * 5000)
    with pytest.raises(CacheError, match=r"DTDA_CACHE='aaa.*aaa' names no folder \(File name too"):
        cache_folder()
    monkeypatch.delenv("DTDA_CACHE")
    assert cache_folder().name == "dtda-study"


# -------------------------------------------------------------- folders that cannot be written


def fail(error, after=0):
    """A function that raises `error` from its call number `after` on."""
    calls = []

    def replacement(original):
        def call(*args, **kwargs):
            calls.append(args)
            if len(calls) > after:
                raise error
            return original(*args, **kwargs)

        return call

    return replacement


@pytest.mark.parametrize("error", [READ_ONLY, FULL], ids=["read-only", "full"])
@pytest.mark.parametrize("step", ["os.replace", "os.fsync", "Path.open"])
def test_a_failed_write_is_named_and_leaves_nothing(tmp_path, monkeypatch, error, step):
    owner = {"os": module.os, "Path": Path}[step.split(".")[0]]
    name = step.split(".")[1]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail(error)(getattr(owner, name)))
        with pytest.raises(CacheError, match=f"{error.strerror}.*DTDA_CACHE=off") as refusal:
            written(tmp_path)
    assert str(tmp_path) in str(refusal.value)
    assert files(tmp_path) == []
    assert written(tmp_path).read(KEY), "once there is room again, all is well"


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "fsync", fail(KeyboardInterrupt())(module.os.fsync))
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path)
    assert files(tmp_path) == []


def test_a_file_where_the_folder_should_be(tmp_path):
    """Not even root can write below a file."""
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "cache")
    for attempt in (
        store.check_writable,
        lambda: store.write(KEY, ARRAYS, 1.0, "{}"),
        lambda: store.claim(KEY).__enter__(),
    ):
        with pytest.raises(CacheError, match="cannot be written"):
            attempt()
    assert not store.has(KEY)
    assert store.read(KEY) is None


def test_a_writable_folder_passes_and_stays_empty(tmp_path):
    Store(tmp_path / "new").check_writable()
    assert files(tmp_path) == []


def test_a_claim_holds_until_it_is_given_back(tmp_path):
    store, other = Store(tmp_path), Store(tmp_path)
    with store.claim(KEY) as mine:
        assert mine
        with other.claim(KEY) as theirs:
            assert not theirs
        with other.claim(OTHER) as theirs:
            assert theirs
    with other.claim(KEY) as theirs:
        assert theirs
    assert files(tmp_path) == []


# -------------------------------------------------------------- banks on bad disks


def bank(measures=("query_loss",), **settings):
    """Six tiny runs in as many shards."""
    task = table_like(n_train=4, n_query=3)
    runs = paired(leave_one_out(4, [0, 3]), seed_pairs(2))
    recipe = Recipe("sgd", lr=0.05, batch_size=2, epochs=2)
    settings = {"workers": 1, "chunk": 1, "title": "tiny"} | settings
    return RunBank(task, get_model("mlp", widths=(8, 2, 1)), recipe, runs, measures, **settings)


@pytest.fixture(scope="module")
def expected():
    """What `bank` gives without any cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DTDA_CACHE", "off")
        return bank().dataset()


def no_training(*_):
    raise AssertionError("it trained")


@pytest.mark.parametrize("place", ["a file", "full"])
def test_a_useless_cache_is_known_before_anything_trains(tmp_path, monkeypatch, place):
    if place == "full":
        monkeypatch.setattr(tempfile, "NamedTemporaryFile", fail(FULL)(None))
    else:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("DTDA_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("dtda_lib.runs.bank.train_shard", no_training)
    with pytest.raises(CacheError, match="DTDA_CACHE=off"):
        bank().fill()


@pytest.mark.parametrize("step", ["write", "claim"])
def test_a_disk_that_fills_up_costs_a_warning_and_nothing_else(monkeypatch, expected, step):
    """Two shards find room; the rest stay in memory."""
    if step == "write":
        monkeypatch.setattr(module.os, "replace", fail(FULL, after=2)(module.os.replace))
    else:
        monkeypatch.setattr(module, "FileLock", fail(FULL, after=2)(module.FileLock))
    filled = bank()
    with pytest.warns(UserWarning, match="bank tiny: .*No space left.*stay in memory") as told:
        filled.fill()
    assert len(told) == 1, "one warning is enough"
    assert filled.dataset().identical(expected)
    kept = [name for name in files(cache_folder()) if name.endswith(".safetensors")]
    assert len(kept) == 2
    assert not [name for name in files(cache_folder()) if name.endswith((".tmp", ".lock"))]


def test_a_full_cache_can_still_be_read(monkeypatch, expected):
    bank().fill()
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", fail(READ_ONLY)(None))
    monkeypatch.setattr("dtda_lib.runs.bank.train_shard", no_training)
    for name in ("mkdir", "touch", "write_text", "write_bytes", "unlink", "rename"):
        monkeypatch.setattr(Path, name, fail(READ_ONLY)(None))
    assert bank().dataset().identical(expected)


@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "mislabelled"])
def test_a_damaged_shard_is_named_and_only_it_is_trained_again(expected, damage):
    first = bank().fill()
    paths = [first.store.path(shard.key) for shard in first.shards]
    before = [path.read_bytes() for path in paths]
    raw = before[2]
    paths[2].write_bytes(
        {
            "truncated": raw[:-9],
            "one bit": raw[:-1] + bytes([raw[-1] ^ 1]),
            "empty": b"",
            "mislabelled": before[1],
        }[damage]
    )
    again = bank()
    key = first.shards[2].key[:12]
    with pytest.warns(UserWarning, match=f"bank tiny: shard {key} is damaged: .*1 runs") as told:
        again.fill()
    assert len(told) == 1
    assert again.dataset().identical(expected)
    assert (again.stats["runs_trained"], again.stats["runs_cached"]) == (1, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        third = bank().fill()
    assert third.stats["runs_trained"] == 0
    untouched = [path.read_bytes() for path in paths]
    assert untouched[:2] + untouched[3:] == before[:2] + before[3:]


def test_what_a_killed_writer_left_is_removed_by_the_next_claim(tmp_path):
    store = written(tmp_path)
    leftover = store.path(KEY).with_name(f"{KEY}.abc.tmp")
    leftover.write_bytes(b"half")
    other = store.path(KEY).with_name("f" * 64 + ".abc.tmp")
    other.write_bytes(b"of another shard, perhaps being written")
    with store.claim(KEY):
        assert not leftover.exists()
        assert other.exists()


# -------------------------------------------------------------- caches of several users


def test_shards_have_the_permissions_that_the_user_gives_to_files(tmp_path):
    for mask, mode in ((0o022, 0o644), (0o002, 0o664), (0o077, 0o600)):
        before = os.umask(mask)
        try:
            path = written(tmp_path / str(mask)).path(KEY)
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == mode


def as_another_user(call):
    """What `call` returns or raises, as text, for a user without any rights of root's."""
    ends, begins = os.pipe()
    if not (child := os.fork()):
        if os.getuid() == 0:
            os.setuid(65534)
        try:
            found = repr(call())
        except OSError as error:
            found = f"{type(error).__name__}: {error}"
        os.write(begins, found.encode())
        os._exit(0)
    os.close(begins)
    with os.fdopen(ends) as file:
        found = file.read()
    os.waitpid(child, 0)
    return found


@pytest.fixture
def shared():
    """A cache with one shard, in a folder that every user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield written(Path(folder) / "cache")


def set_modes(store, folders, files):
    for path in [store.folder, *store.folder.rglob("*")]:
        path.chmod(folders if path.is_dir() else files)


def test_a_cache_that_may_only_be_read_is_read_and_not_written(shared):
    set_modes(shared, 0o555, 0o444)
    assert as_another_user(lambda: same(shared.read(KEY)[0], ARRAYS)) == "True"
    assert as_another_user(shared.check_writable).startswith("CacheError: the cache folder")
    assert as_another_user(lambda: shared.claim(KEY).__enter__()).startswith("CacheError")
    assert as_another_user(lambda: shared.set_aside(KEY) == shared.path(KEY)) == "True"
    assert files(shared.folder) == [shared.path(KEY).name]


@pytest.mark.parametrize("closed", ["a file", "a folder"])
def test_what_another_user_may_not_see_is_unreadable_and_stays(shared, closed):
    path = shared.path(KEY)
    before, place = path.read_bytes(), path if closed == "a file" else path.parent
    place.chmod(0)
    told = as_another_user(lambda: shared.read(KEY))
    assert told.startswith("UnreadableShard: ")
    assert "cannot be read (Permission denied); ask its owner" in told
    assert as_another_user(lambda: shared.has(KEY)) == str(closed == "a file")
    place.chmod(0o755)
    assert path.read_bytes() == before


def test_users_who_may_write_share_claims(shared):
    """A lock that another user holds, or left when it was killed, is no obstacle of its own."""
    mask = os.umask(0)
    try:
        set_modes(shared, 0o777, 0o666)
        with shared.claim(KEY):
            assert as_another_user(lambda: shared.claim(KEY).__enter__()) == "False"
        if not (killed := os.fork()):
            claim = shared.claim(KEY)
            claim.__enter__()
            os._exit(9)
        os.waitpid(killed, 0)
    finally:
        os.umask(mask)
    assert shared.path(KEY).with_suffix(".lock").exists()
    assert as_another_user(lambda: shared.claim(KEY).__enter__()) == "True"


def test_a_damaged_shard_that_cannot_be_moved_is_told_so(monkeypatch, expected):
    first = bank().fill()
    path = first.store.path(first.shards[0].key)
    path.write_bytes(b"half")
    monkeypatch.setattr(Path, "rename", fail(READ_ONLY)(None))
    with pytest.warns(UserWarning, match="is damaged: .*; it cannot be moved, and its 1 runs"):
        again = bank().fill()
    assert again.dataset().identical(expected)


def test_a_shard_that_may_not_be_read_is_left_and_its_runs_are_kept_in_memory(
    monkeypatch, expected
):
    """As root all files can be read, so that opening one is refused by hand."""
    first = bank().fill()
    path = first.store.path(first.shards[2].key)
    before = path.read_bytes()
    opened = Path.open

    def refused(self, *given, **settings):
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(self, *given, **settings)

    monkeypatch.setattr(Path, "open", refused)
    again = bank()
    with pytest.warns(UserWarning, match="cannot be read .Permission denied.") as told:
        again.fill()
    assert len(told) == 1
    assert again.dataset().identical(expected)
    assert (again.stats["runs_trained"], again.stats["runs_cached"]) == (1, 5)
    monkeypatch.undo()
    assert path.read_bytes() == before


@pytest.mark.parametrize("place", ["a folder", "a link", "a named pipe"])
def test_what_is_no_file_is_named_and_set_aside(expected, place):
    first = bank().fill()
    path = first.store.path(first.shards[1].key)
    content = path.read_bytes()
    path.unlink()
    if place == "a folder":
        path.mkdir()
        (path / "dear").write_text("to somebody")
    elif place == "a link":
        other = path.with_name("elsewhere")
        other.write_bytes(content)
        path.symlink_to(other)
    else:
        os.mkfifo(path)
    again = bank()
    with pytest.warns(UserWarning, match=f"{place} is in its place; it is now .*damaged-"):
        again.fill()
    assert again.dataset().identical(expected)
    assert path.is_file()
    assert not path.is_symlink()
    (aside,) = path.parent.glob(f"{path.name}.damaged-*")
    assert place != "a folder" or (aside / "dear").read_text() == "to somebody"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: {"other": a["query_loss"]}, "it holds other, not query_loss"),
        (lambda a: a | {"more": a["query_loss"]}, "it holds more, query_loss"),
        (lambda a: {"query_loss": a["query_loss"][:, :, 0]}, "shape .1, 1., not .1, 1, 3."),
        (lambda a: {"query_loss": a["query_loss"].repeat(2, axis=0)}, "shape .2, 1, 3., not"),
        (lambda a: {"query_loss": a["query_loss"] + [0, np.inf, 0]}, "is not finite"),
        (lambda a: {"query_loss": a["query_loss"] + [0, np.nan, 0]}, "is not finite"),
        (lambda a: {"query_loss": a["query_loss"].astype(complex).view(np.uint8)}, "shape"),
        (lambda a: {"query_loss": a["query_loss"].astype(np.float32)}, "holds float32, which"),
        (lambda a: {"query_loss": a["query_loss"].astype(np.int64)}, "holds int64, which"),
        (lambda a: {"query_loss": a["query_loss"] > 0}, "holds bool, which"),
    ],
)
def test_a_shard_with_a_right_checksum_is_still_compared(expected, change, words):
    first = bank().fill()
    key = first.shards[3].key
    arrays, seconds = first.store.read(key)
    first.store.write(key, change(arrays), seconds, "{}")
    again = bank()
    with pytest.warns(UserWarning, match=words):
        again.fill()
    assert again.dataset().identical(expected)


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int64, bool])
def test_a_measure_of_ones_own_keeps_its_kind_of_number(kind):
    def mine(network, theta, task):
        return network(theta, task.query_x)[:, 0].float()

    def declared():
        return bank(measures=[Measure("mine", ("query",), "none", mine)])

    first = declared().fill()
    key = first.shards[1].key
    arrays, seconds = first.store.read(key)
    first.store.write(key, {"mine": arrays["mine"].astype(kind)}, seconds, "{}")
    again = declared()
    with pytest.warns(UserWarning, match=f"mine holds {np.dtype(kind)}, which it never is"):
        again.fill()
    assert again.dataset().identical(first.dataset())


@pytest.mark.parametrize("dims", [("train",), ("query",)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float16])
def test_numbers_of_any_kind_are_found_again(dims, dtype):
    def mine(network, theta, task):
        return torch.ones(4 if dims == ("train",) else 3, dtype=dtype)

    def declared():
        return bank(measures=[Measure("mine", dims, "none", mine)])

    first, again = declared().fill(), declared()
    assert again.dataset().identical(first.dataset())
    assert again.stats["runs_trained"] == 0


def test_a_shard_without_seconds_is_damaged(tmp_path):
    store = written(tmp_path)
    arrays, _ = store.read(KEY)
    for seconds in ("", "soon"):
        metadata = {"sha256": module._checksum(arrays, KEY, seconds), "seconds": seconds}
        store.path(KEY).write_bytes(module.save(arrays, metadata))
        with pytest.raises(DamagedShard, match=f"its seconds are '{seconds}'"):
            store.read(KEY)


def test_a_cache_stays_where_it_was_when_the_process_moves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store(Path("here"))
    store.write(KEY, {"a": np.ones(2)}, 1.0, "{}")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert store.has(KEY)
    assert store.path(KEY).is_relative_to(tmp_path / "here")


def test_who_waits_says_for_whom(capfd):
    first, second = bank(), bank()
    with first.store.claim(first.shards[0].key):
        named = first.store.holder(first.shards[0].key)
        assert f"process {os.getpid()}, since 20" in named
        waiting = threading.Thread(target=second.fill)
        waiting.start()
        for _ in range(100):
            time.sleep(0.1)
            told = capfd.readouterr().err
            if "waiting for 1 runs" in told:
                break
        else:
            pytest.fail("nothing was said")
        assert named in told
    waiting.join(60)
    assert not waiting.is_alive()
    assert first.store.holder(first.shards[0].key) == "another process"
    assert second.stats["runs_trained"] == 6
