"""Small video files of all kinds, made on the spot."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image as PILImage

FIXED = 1 << 16


def gradient(height: int = 32, width: int = 48) -> np.ndarray:
    """A frame no two of whose corners are alike: red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, np.full_like(x, 60)], -1).astype(np.uint8)


def write_plain(path: Path, frames: Sequence[np.ndarray], *, codec: str = "libx264", rate: int = 10) -> Path:
    """A video with one stream."""
    with av.open(str(path), "w") as container:
        add_stream(container, frames, codec, rate)
    return path


def add_stream(container: av.container.OutputContainer, frames: Sequence[np.ndarray], codec: str, rate: int) -> None:
    """One stream more, whole."""
    stream = container.add_stream(codec, rate=rate)
    stream.height, stream.width = frames[0].shape[:2]
    stream.pix_fmt = "rgb24" if codec == "png" else "yuv420p"
    for frame in frames:
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
    container.mux(stream.encode())


def write_two_streams(path: Path, first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> Path:
    """Two videos in one file."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=10) for _ in range(2)]
        for stream, frames in zip(streams, (first, second), strict=True):
            stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for number in range(len(first)):
            for stream, frames in zip(streams, (first, second), strict=True):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frames[number], format="rgb24")))
        for stream in streams:
            container.mux(stream.encode())
    return path


def set_matrix(path: Path, a: float, b: float, c: float, d: float) -> Path:
    """Write a display matrix over that of an mp4 file: a stored pixel (x, y) is shown at (a x + c y, b x + d y)."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    numbers = [round(a * FIXED), round(b * FIXED), 0, round(c * FIXED), round(d * FIXED), 0, 0, 0, 1 << 30]
    content[place : place + 36] = struct.pack(">9i", *numbers)
    path.write_bytes(content)
    return path


def remux(source: Path, target: Path, *, turn: int = 0, shift: int = 0, **options: str) -> Path:
    """A copy of a video's packets, turned by some degrees, `shift` time units earlier, with the muxer's `options`."""
    with av.open(str(source)) as found, av.open(str(target), "w", options=options) as copy:
        stream = copy.add_stream_from_template(found.streams.video[0])
        if turn:
            stream.set_display_rotation(turn)
        for packet in found.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                packet.pts -= shift
                packet.dts -= shift
                copy.mux(packet)
    return target


def add_cover(path: Path, picture: np.ndarray, *, song: bool) -> Path:
    """A song (or a video, where `song` is False) with a cover picture."""
    cover = path.with_suffix(".cover.jpg")
    PILImage.fromarray(picture).save(cover)
    with av.open(str(path), "w") as container, av.open(str(cover)) as image:
        if song:
            audio = container.add_stream("mp3", rate=44100)
            audio.layout = "mono"
        else:
            video = container.add_stream("libx264", rate=10)
            video.height, video.width, video.pix_fmt = 32, 48, "yuv420p"
        attached = container.add_stream_from_template(image.streams.video[0])
        attached.disposition = 1 << 10
        for packet in image.demux(video=0):
            if packet.size:
                packet.stream = attached
                container.mux(packet)
        if song:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
            silence.sample_rate = 44100
            container.mux(audio.encode(silence))
            container.mux(audio.encode())
        else:
            for _ in range(3):
                container.mux(video.encode(av.VideoFrame.from_ndarray(gradient(), format="rgb24")))
            container.mux(video.encode())
    return path
