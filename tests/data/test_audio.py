"""Recordings: wav files made here in every width, their features by hand, folders, tar files, and what is refused."""

import gzip
import io
import math
import struct
import tarfile

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from broken import broken, read_or_refused, whatever
from carousel.data.audio import FLOOR, LogMel, log_mel, mel_bands, read_recordings, read_sound
from carousel.errors import InputError
from carousel.jobs import of_file
from sounds import RATE, sine, wav

HOW = LogMel(mels=10, window=25, hop=10)


def tar(files, mode="w"):
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode=mode) as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return buffer.getvalue()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_samples_of_every_width(width):
    samples = np.array([0.0, 0.5, -0.5, 0.25, -1.0])
    read, rate = read_sound(wav(samples, 11025, width), "here")
    assert rate == 11025
    np.testing.assert_allclose(read, samples, atol=2.0 ** (1 - 8 * width))


def test_channels_are_averaged():
    read, _ = read_sound(wav([[0.5, 0.25], [-0.5, 0.0]]), "here")
    np.testing.assert_allclose(read, [0.375, -0.25], atol=1e-4)


@pytest.mark.parametrize(
    ("form", "subtype", "close"),
    [
        ("FLAC", "PCM_16", 1e-4),
        ("FLAC", "PCM_24", 1e-6),
        ("AIFF", "PCM_16", 1e-4),
        ("OGG", "VORBIS", 0.1),
        ("MP3", "MPEG_LAYER_III", 0.1),
    ],
)
def test_other_kinds_of_sound_files(tmp_path, form, subtype, close):
    samples = sine(500, 0.2)
    for name in (f"x.{form.lower()}", f"sub/Y.{form}"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, np.stack([samples, samples], axis=1), RATE, format=form, subtype=subtype)
    read, rate = read_sound((tmp_path / name).read_bytes(), "here")
    assert rate == RATE
    np.testing.assert_allclose(read[400:1200], samples[400:1200], atol=close)
    assert read_recordings(tmp_path, HOW).names == [f"sub/Y.{form}", f"x.{form.lower()}"]
    assert len(read_recordings(tmp_path / f"x.{form.lower()}", HOW).items[0]) >= 20
    assert of_file(tmp_path / f"x.{form.lower()}") == "classify"


WHOLE, FLOAT, A_LAW = 1, 3, 6
ODD = b"LIST" + struct.pack("<I", 5) + b"INFOx\0"  # a chunk of an odd length is padded


def riff(raw, code=WHOLE, width=2, *, extensible=False, before=b"", between=b"", size=None, whole=None, order="<"):
    """A wav file of one channel, written by hand: chunks before the format and before the sound, and the sizes that are said."""
    form = struct.pack(f"{order}HHIIHH", 0xFFFE if extensible else code, 1, RATE, RATE * width, width, 8 * width)
    if extensible:
        form += struct.pack(f"{order}HHIH", 22, 8 * width, 4, code) + bytes.fromhex("000000001000800000aa00389b71")
    chunks = b"WAVE" + before + b"fmt " + struct.pack(f"{order}I", len(form)) + form + between
    chunks += b"data" + struct.pack(f"{order}I", len(raw) if size is None else size) + raw
    return (b"RIFF" if order == "<" else b"RIFX") + struct.pack(f"{order}I", len(chunks) if whole is None else whole) + chunks


SAMPLES = np.array([0.5, -0.5, 0.25, 0.0] * 100)
RAW = (SAMPLES * 2**15).astype("<i2").tobytes()


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(("dtype", "code"), [("<i2", WHOLE), ("<i4", WHOLE), ("<f4", FLOAT), ("<f8", FLOAT)])
def test_kinds_of_samples(dtype, code, extensible):
    kind = np.dtype(dtype)
    raw = (SAMPLES * (1 if kind.kind == "f" else 2 ** (8 * kind.itemsize - 1))).astype(kind).tobytes()
    read, rate = read_sound(riff(raw, code, kind.itemsize, extensible=extensible), "here")
    assert rate == RATE
    np.testing.assert_array_equal(read, SAMPLES)


def test_samples_of_the_telephone_and_the_other_order_of_bytes():
    read, _ = read_sound(riff(b"\xd5\x55\xaa", A_LAW, 1), "here")  # G.711: the smallest of either sign, the largest
    np.testing.assert_allclose(read, [2**-12, -(2**-12), 0.984375], atol=1e-6)
    read, _ = read_sound(riff((SAMPLES * 2**15).astype(">i2").tobytes(), order=">"), "here")
    np.testing.assert_array_equal(read, SAMPLES)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF - 36, 0x7FFFF000])
@pytest.mark.parametrize("whole", [0, 36, 0xFFFFFFFF, 0x80000024])
@pytest.mark.parametrize("chunks", [{}, {"before": ODD}, {"between": ODD}])
def test_of_an_unfinished_file_all_that_is_there_is_read(size, whole, chunks):
    read, _ = read_sound(riff(RAW, size=size, whole=whole, **chunks), "here")
    np.testing.assert_array_equal(read, SAMPLES)
    read, _ = read_sound(riff(RAW[:-1], size=size, whole=whole, **chunks), "here")  # cut off within a sample
    np.testing.assert_array_equal(read, SAMPLES[:-1])


@pytest.mark.parametrize("order", ["<", ">"])
def test_of_an_unfinished_file_in_either_order_of_bytes(order):
    read, _ = read_sound(riff((SAMPLES * 2**15).astype(f"{order}i2").tobytes(), order=order, size=0, whole=0), "here")
    np.testing.assert_array_equal(read, SAMPLES)


@pytest.mark.parametrize(
    "chunk", [ODD, b"JUNK" + struct.pack("<I", 8000) + b"fmt data" * 1000, b"bext" + struct.pack("<I", 602) + b"\1" * 602]
)
def test_chunks_before_the_format_and_after_the_sound(chunk):
    for content in (riff(RAW, before=chunk), riff(RAW, between=chunk), riff(RAW) + chunk, riff(RAW, FLOAT, 4, before=chunk)):
        read, _ = read_sound(content, "here")
        assert len(read) in (400, 200)
    read, _ = read_sound(riff(RAW, before=chunk, between=chunk) + chunk, "here")
    np.testing.assert_array_equal(read, SAMPLES)


@pytest.mark.parametrize("frequency", [300, 1000, 2500])
def test_the_energy_of_a_sine_is_in_the_band_of_its_pitch(frequency):
    features = log_mel(sine(frequency), RATE, HOW)
    assert (features.shape, features.dtype) == ((10, 10), np.float64)
    mel = [2595 * math.log10(1 + f / 700) for f in (frequency, RATE / 2)]
    middles = np.arange(1, 11) * mel[1] / 11
    assert (features[3:].argmax(axis=1) == np.abs(middles - mel[0]).argmin()).all()


def test_features_by_hand():
    """Step 4 of a sum of two sines: windowed, transformed and weighted by the formulas, sample after sample."""
    samples = sine(440) + sine(1800, amplitude=0.1)
    window, hop, points, step = 200, 80, 512, 4
    latest = samples[(step + 1) * hop - window : (step + 1) * hop]
    shape = [0.5 - 0.5 * math.cos(2 * math.pi * (n + 1) / (window + 1)) for n in range(window)]
    power = []
    for k in range(points // 2 + 1):
        turns = np.exp(-2j * np.pi * k * np.arange(window) / points)
        power.append(abs(sum(latest * shape * turns)) ** 2 / sum(shape) ** 2)
    top = 2595 * math.log10(1 + RATE / 2 / 700)
    corners = [700 * (10 ** (top * n / 11 / 2595) - 1) for n in range(12)]
    expected = []
    for low, middle, high in zip(corners, corners[1:], corners[2:], strict=False):
        energy = 0.0
        for k, part in enumerate(power):
            f = k * RATE / points
            if low < f <= middle:
                energy += part * (f - low) / (middle - low)
            elif middle < f < high:
                energy += part * (high - f) / (high - middle)
        expected.append(math.log(energy + FLOOR))
    np.testing.assert_allclose(log_mel(samples, RATE, HOW)[step], expected, rtol=1e-5)


def test_a_step_knows_no_later_sound_and_silence_comes_before():
    samples = sine(500, 0.2)
    changed = samples.copy()
    changed[5 * 80 :] += 0.3
    one, other = log_mel(samples, RATE, HOW), log_mel(changed, RATE, HOW)
    assert np.array_equal(one[:5], other[:5])
    assert not np.array_equal(one[5], other[5])
    later = log_mel(np.concatenate([np.zeros(160), samples]), RATE, HOW)
    np.testing.assert_allclose(later[2:], one, rtol=1e-5)
    np.testing.assert_allclose(later[0], math.log(FLOOR), rtol=1e-6)


def test_what_is_shorter_than_a_hop_is_one_step():
    assert log_mel(np.ones(5), RATE, HOW).shape == (1, 10)


def test_every_band_has_its_frequencies_or_mels_are_too_many():
    assert (mel_bands(40, 512, 8000) > 0).any(axis=1).all()
    with pytest.raises(InputError, match="400 mels are too many for windows of 512 points at 8000 Hz; give fewer mels"):
        mel_bands(400, 512, 8000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mels": 0}, "expected mels of at least 1, got 0"),
        ({"hop": 30}, "expected 0 < hop <= window milliseconds, got hop 30 and window 25"),
        ({"hop": 0}, "expected 0 < hop"),
        ({"window": float("inf")}, "expected 0 < hop"),
    ],
)
def test_features_that_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        LogMel(**options)


def test_a_hop_without_a_sample():
    with pytest.raises(InputError, match=r"here: a window of 25 ms and a hop of 0\.001 ms are no lengths to cut 8000 Hz by"):
        log_mel(sine(500), RATE, LogMel(hop=0.001), "here")


@pytest.fixture
def folder(tmp_path):
    for name, pitch in (("low/b.wav", 300), ("low/a.WAV", 320), ("high/deep/c.wav", 2000)):
        path = tmp_path / "sounds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav(sine(pitch)))
    (tmp_path / "sounds" / "low" / "._b.wav").write_bytes(b"of another system")
    (tmp_path / "sounds" / "readme.txt").write_text("no sound")
    return tmp_path / "sounds"


def test_a_folder_with_a_sub_folder_a_label(folder):
    sequences = read_recordings(folder, HOW)
    assert sequences.names == ["high/deep/c.wav", "low/a.WAV", "low/b.wav"]
    assert sequences.labels == ["deep", "low", "low"]
    assert (sequences.kind, sequences.rate) == ("numbers", RATE)
    np.testing.assert_allclose(sequences.items[2], log_mel(read_sound(wav(sine(300)), "")[0], RATE, HOW), rtol=1e-6)


@pytest.mark.parametrize(("name", "mode"), [("sounds.tar", "w"), ("sounds.tar.gz", "w:gz"), ("sounds.tgz", "w:gz")])
def test_a_tar_file_is_the_folder(folder, tmp_path, name, mode):
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (tmp_path / name).write_bytes(tar(files, mode))
    packed, plain = read_recordings(tmp_path / name, HOW), read_recordings(folder, HOW)
    assert (packed.names, packed.labels) == (plain.names, plain.labels)
    assert all(np.array_equal(one, other) for one, other in zip(packed.items, plain.items, strict=True))


def test_names_that_cannot_be_printed_are_made_so(tmp_path):
    (tmp_path / "odd.tar").write_bytes(tar({"a\nb/c\udcff.wav": GOOD}))
    sequences = read_recordings(tmp_path / "odd.tar", HOW)
    assert (sequences.names, sequences.labels) == (["a?b/c?.wav"], ["a?b"])


def test_labels_by_a_pattern_and_one_file_alone(tmp_path):
    for name in ("7_ann_0.wav", "3_bob_1.wav"):
        (tmp_path / name).write_bytes(wav(sine(500)))
    assert read_recordings(tmp_path, HOW).labels == [None, None]
    assert read_recordings(tmp_path, HOW, label_pattern=r"^(\d)_").labels == ["3", "7"]
    alone = read_recordings(tmp_path / "7_ann_0.wav", HOW, label_pattern=r"_(\w+)_")
    assert (alone.names, alone.labels) == (["7_ann_0.wav"], ["ann"])
    with pytest.raises(InputError, match=r"3_bob_1.wav: --label-pattern '\^\(7\)' finds no label in the name '3_bob_1.wav'"):
        read_recordings(tmp_path, HOW, label_pattern="^(7)")
    with pytest.raises(InputError, match=r"--label-pattern: not a regular expression: '\('"):
        read_recordings(tmp_path, HOW, label_pattern="(")
    with pytest.raises(InputError, match=r"--label-pattern: expected a group in parentheses around what is the label, got '\\\\d'"):
        read_recordings(tmp_path, HOW, label_pattern=r"\d")


def test_sample_rates_that_differ_are_refused_with_both(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(sine(500)))
    (tmp_path / "b.wav").write_bytes(wav(sine(500), rate=16000))
    with pytest.raises(InputError, match=r"b\.wav: expected a sample rate of 8000 Hz, as a\.wav has, got 16000 Hz; resample"):
        read_recordings(tmp_path, HOW)
    with pytest.raises(InputError, match=r"a\.wav: expected a sample rate of 16000 Hz, as training has, got 8000 Hz"):
        read_recordings(tmp_path, LogMel(rate=16000))


GOOD = wav(sine(500, 0.02))
ARCHIVE = tar({"a/x.wav": GOOD})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a sound file that can be read (Format not recognised); save it as wav, 16-bit PCM"),
        (
            b"what is this, no wav file at all?",
            "not a sound file that can be read (Format not recognised); save it as wav, 16-bit PCM",
        ),
        (GOOD[:20] + b"\x77\x77" + GOOD[22:], "not a sound file that can be read ("),
        (GOOD[:-10], "the wav file is cut off: it has 310 of 320 bytes of sound"),
        (riff(RAW[:-10], size=len(RAW), whole=0), "the wav file is cut off: it has 790 of 800 bytes of sound"),
        (wav(np.zeros((0, 1))), "the file holds no sound"),
        (riff(b"", whole=0), "the file holds no sound"),
        (riff(b"", whole=len(riff(b"", before=ODD)) - 8) + ODD, "the file holds no sound"),
        (GOOD[:24] + bytes(4) + GOOD[28:], "not a sound file that can be read ("),
        (riff(np.array([0, np.nan], "<f4").tobytes(), FLOAT, 4), "sample 2: expected finite numbers, got nan"),
        (riff(np.array([0, 1, -np.inf], "<f4").tobytes(), FLOAT, 4), "sample 3: expected finite numbers, got -inf"),
        (riff(np.array([1e300], "<f8").tobytes(), FLOAT, 8), "sample 1: expected finite numbers, got 1e+300"),
    ],
)
def test_a_wav_that_is_none_is_one_line(tmp_path, content, message):
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(InputError) as error:
        read_recordings(tmp_path / "x.wav", HOW)
    assert str(error.value).startswith(f"{tmp_path / 'x.wav'}: x.wav: {message}"[:60])
    assert message in str(error.value)


def test_no_recordings_and_no_tar_file(tmp_path):
    with pytest.raises(InputError, match=r"no recordings there; expected files that end in \.wav, \.flac"):
        read_recordings(tmp_path, HOW)
    (tmp_path / "some.tar").write_bytes(b"something else" * 100)
    with pytest.raises(InputError, match=r"some\.tar: not a tar file, or a damaged one"):
        read_recordings(tmp_path / "some.tar", HOW)
    whole = tar({"a.wav": GOOD})
    (tmp_path / "some.tar").write_bytes(whole[:600])
    with pytest.raises(InputError, match=r"some\.tar: not a tar file, or a damaged one: unexpected end of data"):
        read_recordings(tmp_path / "some.tar", HOW)
    with pytest.raises(InputError, match=r"nothing\.tar: cannot read the file"):
        read_recordings(tmp_path / "nothing.tar", HOW)


@whatever
@given(
    content=broken(GOOD, riff(RAW[:100], before=ODD, size=0, whole=0), riff(RAW[:100], FLOAT, 4, extensible=True)),
    archive=broken(ARCHIVE[:1800], gzip.compress(ARCHIVE)),
    rate=st.integers(0, 99),
)
def test_whatever_the_file_holds_it_is_sequences_or_an_input_error(tmp_path, content, archive, rate):
    (tmp_path / "x.wav").write_bytes(content)
    (tmp_path / "x.tar").write_bytes(archive)
    for name in ("x.wav", "x.tar"):
        sequences = read_or_refused(read_recordings, tmp_path / name, LogMel(mels=3, rate=None if rate else RATE))
        if sequences is not None:
            assert all(np.isfinite(item).all() and item.shape[1] == 3 for item in sequences.items)
            assert len(sequences.items) == len(sequences.labels) == len(sequences.names) > 0
