"""HDF5 as synchrotrons write it: their filters, and which of several data sets is the volume."""

import struct
import zlib

import h5py
import hdf5plugin
import imagecodecs
import numpy as np
import pytest

from scans.formats import FormatError, open_volume
from scans.geometry import Spacing

VOXELS = (np.arange(12 * 40 * 50) // 7 % 999).astype(np.uint16).reshape(12, 40, 50)
SPACING = Spacing(3.0, 2.0, 1.0)
CHUNKS = (2, 32, 32)
READ = {
    "blosc": hdf5plugin.Blosc(),
    "blosc zstd, bitshuffled": hdf5plugin.Blosc(cname="zstd", shuffle=hdf5plugin.Blosc.BITSHUFFLE),
    "bitshuffle": hdf5plugin.Bitshuffle(cname="none"),
    "bitshuffle lz4": hdf5plugin.Bitshuffle(),
    "bitshuffle zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    "lz4": hdf5plugin.LZ4(),
    "zstd": hdf5plugin.Zstd(),
}


def saved(path, **packing):
    with h5py.File(path, "w") as file:
        data = file.create_dataset("entry/scan", data=VOXELS, chunks=CHUNKS, **packing)
        data.attrs["element_size_um"] = (3000.0, 2000.0, 1000.0)
    return path


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("checked", [False, True])
def test_filters_of_synchrotrons_are_read(name, checked, tmp_path):
    """Every voxel, with the checksum filter after them too."""
    with open_volume(saved(tmp_path / "a.h5", fletcher32=checked, **READ[name])) as volume:
        np.testing.assert_array_equal(volume.read(), VOXELS)
        assert volume.spacing == SPACING


@pytest.mark.parametrize(
    ("packing", "said"),
    [
        (hdf5plugin.Blosc2(), "Blosc2"),
        (hdf5plugin.BZip2(), "bzip2"),
        ({"scaleoffset": 4}, "scale-offset"),
    ],
)
def test_other_filters_are_named(packing, said, tmp_path):
    """With the command that makes another file; it is not called damaged."""
    with (
        pytest.raises(
            FormatError, match=rf"data set entry/scan is packed with the filter {said}; accepted: .*h5repack"
        ) as raised,
        open_volume(saved(tmp_path / "a.h5", **packing)),
    ):
        pass
    assert "damaged" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "at", "form"),
    [
        ("blosc", 4, "<I"),
        ("lz4", 0, ">Q"),
        ("bitshuffle lz4", 0, ">Q"),
        ("bitshuffle zstd", 0, ">Q"),
        ("zstd", 5, "<I"),
    ],
)
def test_a_chunk_that_states_more_than_it_holds_is_refused(name, at, form, tmp_path):
    """Before room is made for it."""
    path = saved(tmp_path / "a.h5", **READ[name])
    with h5py.File(path) as file:
        places = []
        file["entry/scan"].id.chunk_iter(lambda chunk: places.append(chunk.byte_offset))
    content = bytearray(path.read_bytes())
    if name == "zstd":  # a frame with a size of four bytes, and without a window
        content[places[5] + 4] = 0b1010_0000
    struct.pack_into(form, content, places[5] + at, 2_000_000_000)
    path.write_bytes(content)
    with pytest.raises(FormatError, match="a chunk of 4096 bytes states 2000000000 bytes"), open_volume(path):
        pass


def test_data_that_is_packed_twice_is_refused(tmp_path):
    """What the first unpacks to could be anything to the second."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk(CHUNKS)
        properties.set_deflate(4)
        properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        space = h5py.h5s.create_simple(VOXELS.shape)
        h5py.h5d.create(file.id, b"scan", h5py.h5t.NATIVE_UINT16, space, properties)
        file["scan"][:] = VOXELS
    with pytest.raises(FormatError, match="packed 2 times"), open_volume(path, spacing=SPACING):
        pass


def packed_by_hand(path, *filters, content):
    """One chunk of the data, packed already, behind these filters."""
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk(VOXELS.shape)
        for code, *values in filters:
            properties.set_filter(code, h5py.h5z.FLAG_OPTIONAL, tuple(values))
        space = h5py.h5s.create_simple(VOXELS.shape)
        data = h5py.h5d.create(file.id, b"scan", h5py.h5t.NATIVE_UINT16, space, properties)
        data.write_direct_chunk((0, 0, 0), content)
    return path


ENDLESS = bytes(40 << 20)
BUILT_IN = {
    "gzip": ((1, 4), lambda content: zlib.compress(content, 9)),
    "LZF": ((32000,), lambda content: imagecodecs.lzf_encode(content, header=False)),
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_chunk_of_a_built_in_filter_unpacks_to_no_more_than_it_holds(name, tmp_path):
    """HDF5 would make room for all of it, and gzip packs a thousand bytes into one."""
    filter_, pack = BUILT_IN[name]
    with open_volume(
        packed_by_hand(tmp_path / "a.h5", filter_, content=pack(VOXELS.tobytes())), spacing=SPACING
    ) as volume:
        np.testing.assert_array_equal(volume.read(), VOXELS)
    bomb = packed_by_hand(tmp_path / "b.h5", filter_, content=pack(ENDLESS[: 40 << 20 if name == "gzip" else 2 << 20]))
    with (
        pytest.raises(FormatError, match="a chunk of 48000 bytes that unpacks to more"),
        open_volume(bomb, spacing=SPACING) as volume,
    ):
        volume.slab(0, 1)


@pytest.mark.parametrize("packing", [{"compression": "gzip"}, {"compression": "lzf"}])
@pytest.mark.parametrize("arranging", [(), ("shuffle",), ("fletcher32",), ("shuffle", "fletcher32")])
def test_built_in_filters_are_read_in_their_usual_order(packing, arranging, tmp_path):
    """Shuffled before, with a checksum after."""
    with open_volume(saved(tmp_path / "a.h5", **packing, **dict.fromkeys(arranging, True))) as volume:
        np.testing.assert_array_equal(volume.slab(3, 8), VOXELS[3:8])


@pytest.mark.parametrize("code", [1, 32015])
def test_what_is_shuffled_after_it_was_packed_is_refused(code, tmp_path):
    """The first bytes of such a chunk are not those of what was packed."""
    path = packed_by_hand(tmp_path / "a.h5", (code, 3), (2, 2), content=bytes(100))
    with pytest.raises(FormatError, match="is shuffled after it was packed"), open_volume(path, spacing=SPACING):
        pass


def data_exchange(path):
    with h5py.File(path, "w") as file:
        file["exchange/data"] = VOXELS
        file["exchange/data_white"] = VOXELS[:3] + 1
        file["exchange/data_dark"] = VOXELS[:2]
        file["exchange/theta"] = np.arange(12.0)
    return path


def test_white_and_dark_fields_are_passed_over_and_said(tmp_path):
    """Data Exchange: `exchange/data` is the volume."""
    with open_volume(data_exchange(tmp_path / "a.h5"), spacing=SPACING) as volume:
        np.testing.assert_array_equal(volume.read(), VOXELS)
    assert volume.notes == (
        "data set exchange/data was read; passed over: exchange/data_dark 2 x 40 x 50 uint16, "
        "exchange/data_white 3 x 40 x 50 uint16",
    )


@pytest.mark.parametrize("name", ["/exchange/data_white", "exchange/data_white", "data_white"])
def test_a_data_set_that_is_named_is_read(name, tmp_path):
    """By its whole name, or by the last part of it."""
    with open_volume(data_exchange(tmp_path / "a.h5"), spacing=SPACING, dataset=name) as volume:
        np.testing.assert_array_equal(volume.read(), VOXELS[:3] + 1)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("recon", "no data set 'recon'; accepted: the name of one in the file: exchange/data 12 x 40 x 50 uint16, "),
        ("exchange", "no data set 'exchange'"),
        ("theta", "data set exchange/theta 12 float64; accepted: one volume of three axes"),
    ],
)
def test_a_name_that_leads_to_no_volume_is_refused(name, said, tmp_path):
    """With the names that there are."""
    with (
        pytest.raises(FormatError, match=said),
        open_volume(data_exchange(tmp_path / "a.h5"), spacing=SPACING, dataset=name),
    ):
        pass


def test_two_volumes_are_listed_with_how_to_name_one(tmp_path):
    """Neither is guessed."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["raw"], file["filtered"] = VOXELS, VOXELS
    with (
        pytest.raises(FormatError, match="or name one: --dataset filtered on the command line, the parameter dataset"),
        open_volume(path, spacing=SPACING),
    ):
        pass


@pytest.mark.parametrize("way", ["default", "old", "group", "soft link"])
def test_nexus_says_which_data_set_it_is(way, tmp_path):
    """By `default` and `signal` from the root, by `signal` of the group, of the data set as of old, or by a link."""
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("entry/plot/counts", data=VOXELS)
        file["other"] = VOXELS + 1
        if way == "old":
            data.attrs["signal"] = 1
        else:
            file["entry/plot"].attrs["signal"] = "counts"
        if way in ("default", "soft link"):
            file.attrs["default"], file["entry"].attrs["default"] = "entry", b"plot"

        if way == "soft link":
            file["entry/plot"].attrs["signal"] = "linked"
            file["entry/plot/linked"] = h5py.SoftLink("/entry/plot/counts")
    with open_volume(path, spacing=SPACING) as volume:
        np.testing.assert_array_equal(volume.read(), VOXELS)
    assert "passed over: other" in volume.notes[0]


def test_a_name_does_not_lead_out_of_the_file(tmp_path):
    """Neither by an external link nor by a soft one to it, nor round in a circle."""
    data_exchange(tmp_path / "b.h5")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["out"] = h5py.ExternalLink("b.h5", "/exchange/data")
        file["soft"] = h5py.SoftLink("/out")
        file["round"] = h5py.SoftLink("/round")
        file["scan"] = VOXELS
    for name in ("out", "soft", "round", "../b", ""):
        with pytest.raises(FormatError, match="no data set"), open_volume(path, spacing=SPACING, dataset=name):
            pass


def test_other_formats_take_no_name(tmp_path, samples):
    """A name that would be passed over is refused."""
    with pytest.raises(FormatError, match="a data set is named, 'data', in a file that has no names in it"):
        open_volume(samples["plain.nii"], dataset="data").__enter__()
