"""Recordings made here: sines, and wav files of any samples, rate and width."""

import io
import wave

import numpy as np

RATE = 8000


def sine(frequency, seconds=0.1, amplitude=0.5, rate=RATE):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def wav(samples, rate=RATE, width=2):
    """A wav file of samples (n,) or (n, channels) in -1..1."""
    samples = np.array(samples, dtype=np.float64)
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    top = 2 ** (8 * width - 1)
    whole = np.clip(np.round(samples * top), -top, top - 1).astype(np.int64)
    raw = b"".join((int(value) + (128 if width == 1 else 0)).to_bytes(width, "little", signed=width > 1) for value in whole.flat)
    with io.BytesIO() as buffer:
        with wave.open(buffer, "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(width)
            file.setframerate(rate)
            file.writeframes(raw)
        return buffer.getvalue()
