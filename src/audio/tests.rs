//! Small files of every format, and bytes that are not audio.

use proptest::prelude::*;

use super::measured::{seconds, seconds_of_ends};

fn chunk(id: &[u8], body: &[u8]) -> Vec<u8> {
    let size = (body.len() as u32).to_le_bytes();
    [id, &size, body].concat()
}

/// A WAVE of mono samples of 16 bits at 8 kHz, whose header claims these sizes.
fn wave(riff: u32, data: u32, samples: usize, before: &[Vec<u8>]) -> Vec<u8> {
    let mut format = Vec::new();
    format.extend(1u16.to_le_bytes());
    format.extend(1u16.to_le_bytes());
    format.extend(8_000u32.to_le_bytes());
    format.extend(16_000u32.to_le_bytes());
    format.extend(2u16.to_le_bytes());
    format.extend(16u16.to_le_bytes());
    let mut all = [&b"RIFF"[..], &riff.to_le_bytes(), b"WAVE"].concat();
    all.extend(chunk(b"fmt ", &format));
    all.extend(before.concat());
    all.extend(b"data");
    all.extend(data.to_le_bytes());
    all.extend(vec![0; samples * 2]);
    all
}

#[test]
fn wave_placeholder_sizes_measure_the_available_samples() {
    for (riff, data) in [
        (36 + 16_000, 16_000),
        (0, 0),
        (36 + 16_000, 0),
        (0x7fff_ffff, 0x7fff_ffff),
        (u32::MAX, u32::MAX),
        (0x7fff_ffbf, 0x7fff_ff9b),
        (4, 16_000),
        (36 + 16_000, 99_999),
    ] {
        assert_eq!(
            seconds(&wave(riff, data, 8_000, &[])),
            Some(1.0),
            "{riff:x} {data:x}"
        );
    }
    let odd = chunk(b"LIST", b"INFOsix").into_iter().chain([0]).collect();
    assert_eq!(seconds(&wave(0, 16_000, 8_000, &[odd])), Some(1.0));
    let more = [wave(0, 16_000, 8_000, &[]), chunk(b"LIST", &[0; 900])].concat();
    assert_eq!(
        seconds(&more),
        Some(1.0),
        "chunks behind the samples are no sound"
    );
}

#[test]
fn wave_64_bit_sizes_come_from_ds64() {
    for id in [b"RF64", b"BW64"] {
        let mut sizes = Vec::new();
        sizes.extend(0u64.to_le_bytes());
        sizes.extend(16_000u64.to_le_bytes());
        sizes.extend([0; 12]);
        let mut bytes = wave(u32::MAX, u32::MAX, 8_000, &[chunk(b"ds64", &sizes)]);
        bytes.splice(..4, *id);
        bytes.extend(chunk(b"bext", &[0; 700]));
        assert_eq!(seconds(&bytes), Some(1.0));
    }
}

#[test]
fn aiff_is_measured_by_its_frames_and_rate() {
    let mut common = vec![0, 1];
    common.extend(24_000u32.to_be_bytes());
    common.extend([0, 16]);
    // 8,000 as an 80-bit number.
    common.extend([0x40, 0x0b, 0xfa, 0, 0, 0, 0, 0, 0, 0]);
    let mut bytes = b"FORM\0\0\0\0AIFFCOMM".to_vec();
    bytes.extend((common.len() as u32).to_be_bytes());
    bytes.extend(common);
    assert_eq!(seconds(&bytes), Some(3.0));
}

#[test]
fn caf_is_measured_by_its_data_or_its_packets() {
    let mut begin = b"caff\0\x01\0\0desc\0\0\0\0\0\0\0\x20".to_vec();
    begin.extend(8_000f64.to_be_bytes());
    begin.extend(b"lpcm\0\0\0\0");
    for number in [2u32, 1, 1, 16] {
        begin.extend(number.to_be_bytes());
    }
    let data = |size: i64| [&b"data"[..], &size.to_be_bytes(), &[0; 4 + 16_000]].concat();
    assert_eq!(seconds(&[begin.clone(), data(16_004)].concat()), Some(1.0));
    assert_eq!(seconds(&[begin.clone(), data(-1)].concat()), Some(1.0));
    let mut packets = [&b"pakt"[..], &24i64.to_be_bytes()].concat();
    packets.extend(10i64.to_be_bytes());
    packets.extend(20_000i64.to_be_bytes());
    packets.extend([0; 8]);
    assert_eq!(seconds(&[begin, packets].concat()), Some(2.5));
}

fn stream_information(rate: u32, samples: u64) -> Vec<u8> {
    let packed = u64::from(rate) << 44 | 15 << 36 | samples;
    [
        &[0x80, 0, 0, 34][..],
        &[0; 10],
        &packed.to_be_bytes(),
        &[0; 16],
    ]
    .concat()
}

#[test]
fn flac_is_measured_by_its_stream_information() {
    let file = |samples| [b"fLaC".to_vec(), stream_information(16_000, samples)].concat();
    assert_eq!(seconds(&file(40_000)), Some(2.5));
    assert_eq!(seconds(&file(0)), None);
}

fn page(serial: u32, position: u64, packet: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0\0".to_vec();
    page.extend(position.to_le_bytes());
    page.extend(serial.to_le_bytes());
    page.extend([0; 8]);
    page.extend([1, packet.len() as u8]);
    page.extend(packet);
    page
}

#[test]
fn ogg_is_measured_by_the_last_page_of_its_stream() {
    let opus = b"OpusHead\x01\x01\x38\x01\x80\x3e\0\0\0\0\0";
    let vorbis = [&b"\x01vorbis"[..], &[0; 4], &[1], &22_050u32.to_le_bytes()].concat();
    let flac = [
        b"\x7fFLAC\x01\0\0\x01fLaC".to_vec(),
        stream_information(8_000, 0),
    ]
    .concat();
    let speex = [&b"Speex   "[..], &[0; 28], &16_000u32.to_le_bytes()].concat();
    for (first, last, expected) in [
        (&opus[..], 48_000 + 0x138, 1.0),
        (&vorbis, 44_100, 2.0),
        (&flac, 12_000, 1.5),
        (&speex, 8_000, 0.5),
    ] {
        let file = [
            page(7, 0, first),
            page(7, 960, &[0; 200]),
            page(7, last, &[0; 90]),
            page(8, 1 << 40, b"of another stream"),
            page(7, u64::MAX, b"no packet ends here"),
        ];
        assert_eq!(seconds(&file.concat()), Some(expected));
    }
}

fn boxed(kind: &[u8], body: &[u8]) -> Vec<u8> {
    let size = (body.len() as u32 + 8).to_be_bytes();
    [&size, kind, body].concat()
}

fn movie(version: u8, scale: u32, length: u64, more: &[u8]) -> Vec<u8> {
    let header = match version {
        0 => [
            &[0; 12][..],
            &scale.to_be_bytes(),
            &(length as u32).to_be_bytes(),
        ]
        .concat(),
        _ => [
            &[1],
            &[0; 19][..],
            &scale.to_be_bytes(),
            &length.to_be_bytes(),
        ]
        .concat(),
    };
    boxed(b"moov", &[boxed(b"mvhd", &header), more.to_vec()].concat())
}

#[test]
fn mp4_is_measured_by_its_movie_header_at_either_end() {
    let kind = boxed(b"ftyp", b"M4A \0\0\0\0");
    let samples = boxed(b"mdat", &[7; 100_000]);
    for version in [0, 1] {
        let header = movie(version, 1_000, 42_500, &[]);
        let first = [&kind[..], &header, &samples].concat();
        let last = [&kind[..], &samples, &header].concat();
        assert_eq!(seconds(&first), Some(42.5));
        assert_eq!(seconds(&last), Some(42.5));
        assert_eq!(seconds_of_ends(&first, 4_096), Some(42.5));
        assert_eq!(seconds_of_ends(&last, 4_096), Some(42.5));
    }
    let extension = boxed(b"mehd", &[&[0; 4][..], &9_000u32.to_be_bytes()].concat());
    let fragmented = movie(0, 1_000, 0, &boxed(b"mvex", &extension));
    assert_eq!(seconds(&[&kind[..], &fragmented].concat()), Some(9.0));
    let mut index = [&[0; 8][..], &1_000u32.to_be_bytes(), &[0; 10], &[0, 2]].concat();
    for length in [1_500u32, 2_500] {
        index.extend([&[0; 4][..], &length.to_be_bytes(), &[0; 4]].concat());
    }
    let indexed = [kind, movie(0, 1_000, 0, &[]), boxed(b"sidx", &index)].concat();
    assert_eq!(seconds(&indexed), Some(4.0));
}

#[test]
fn a_fragmented_mp4_is_measured_by_its_last_fragment() {
    let header = [&[0; 12][..], &8_000u32.to_be_bytes(), &[0; 4]].concat();
    let track = boxed(b"trak", &boxed(b"mdia", &boxed(b"mdhd", &header)));
    let defaults = [&[0; 12][..], &160u32.to_be_bytes(), &[0; 8]].concat();
    let more = [track, boxed(b"mvex", &boxed(b"trex", &defaults))].concat();
    let begin = [boxed(b"ftyp", b"mp42"), movie(0, 1_000, 0, &more)].concat();
    let fragment = |at: u32, header: &[u8], run: &[u8]| {
        let track = [
            boxed(b"tfhd", header),
            boxed(b"tfdt", &[[0; 4], at.to_be_bytes()].concat()),
            boxed(b"trun", run),
        ];
        boxed(b"moof", &boxed(b"traf", &track.concat()))
    };
    let plain = [0u32, 50].map(u32::to_be_bytes).concat();
    let each = [0x305u32, 2, 0, 0, 4_000, 9, 2_000, 9].map(u32::to_be_bytes);
    let own = [0x8u32, 1, 400].map(u32::to_be_bytes).concat();
    for (header, run, expected) in [
        (&[0; 8][..], &plain[..], 2.0),
        (&[0; 8], &each.concat(), 1.75),
        (&own, &plain, 3.5),
    ] {
        let last = fragment(8_000, header, run);
        let file = [&begin[..], &fragment(0, &[0; 8], &plain), &last].concat();
        assert_eq!(seconds(&file), Some(expected));
    }
}

#[test]
fn matroska_is_measured_by_its_duration_or_last_block() {
    let begin =
        b"\x1a\x45\xdf\xa3\x84\x42\x86\x81\x01\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff";
    let info = b"\x15\x49\xa9\x66\x8e\x2a\xd7\xb1\x83\x0f\x42\x40\x44\x89\x84\x45\x1c\x40\x00";
    assert_eq!(seconds(&[&begin[..], info].concat()), Some(2.5));
    let recorded = [
        &begin[..],
        b"\x15\x49\xa9\x66\x87\x2a\xd7\xb1\x83\x0f\x42\x40",
        b"\x1f\x43\xb6\x75\x01\xff\xff\xff\xff\xff\xff\xff\xe7\x81\x00\xa3\x85\x81\x00\x00\x80\xaa",
        b"\x1f\x43\xb6\x75\x01\xff\xff\xff\xff\xff\xff\xff\xe7\x82\x03\xe8",
        b"\xa3\x85\x81\x01\xf4\x80\xaa",
    ];
    assert_eq!(seconds(&recorded.concat()), Some(1.5));
}

/// Frames of MPEG-1 layer III, 128 kbit/s, 32 kHz: 576 bytes and 36 ms each.
fn mp3(frames: usize) -> Vec<u8> {
    let mut frame = vec![0xff, 0xfb, 0x98, 0x00];
    frame.resize(576, 0);
    frame.repeat(frames)
}

fn close(found: Option<f64>, expected: f64) {
    let found = found.unwrap();
    assert!(
        (found - expected).abs() < 0.001 * expected,
        "{found} is not {expected}"
    );
}

#[test]
fn mp3_is_measured_by_its_index_or_frames() {
    close(seconds(&mp3(100)), 3.6);
    let mut tag = b"ID3\x04\0\0\0\0\x07\x68".to_vec();
    tag.extend([0xff; 1_000]);
    let tagged = [tag, mp3(100), vec![0; 128]].concat();
    close(seconds(&tagged), 3.6);
    close(seconds_of_ends(&mp3(1_000), 64 * 1024), 36.0);
    for (name, at, body) in [
        (
            &b"Xing"[..],
            36,
            [1u32, 5_000].map(u32::to_be_bytes).concat(),
        ),
        (b"Info", 36, [1u32, 5_000].map(u32::to_be_bytes).concat()),
        (
            b"VBRI",
            36,
            [&[0; 10][..], &5_000u32.to_be_bytes()].concat(),
        ),
    ] {
        let mut file = mp3(3);
        file.splice(at..at + 4, name.iter().copied());
        file.splice(at + 4..at + 4 + body.len(), body);
        close(seconds(&file), 180.0);
    }
}

#[test]
fn every_kind_of_mpeg_frame_is_measured() {
    // Version, layer and CRC; bit rate and sample rate; bytes and seconds of a frame.
    for (second, third, bytes, length) in [
        (0xff, 0x94, 288, 384.0 / 48_000.0),
        (0xfd, 0x84, 384, 1_152.0 / 48_000.0),
        (0xfa, 0x94, 384, 1_152.0 / 48_000.0),
        (0xf3, 0x84, 192, 576.0 / 24_000.0),
        (0xe3, 0x48, 288, 576.0 / 8_000.0),
    ] {
        let mut frame = vec![0xff, second, third, 0];
        frame.resize(bytes, 0);
        close(seconds(&frame.repeat(50)), 50.0 * length);
    }
}

#[test]
fn adts_and_amr_are_counted() {
    // AAC LC, 16 kHz, mono: 200 bytes and 64 ms.
    let mut frame = vec![0xff, 0xf1, 0x60, 0x40, 0x19, 0x1f, 0xfc];
    frame.resize(200, 0);
    close(seconds(&frame.repeat(100)), 6.4);
    let mut narrow = vec![0x3c];
    narrow.resize(32, 1);
    close(
        seconds(&[b"#!AMR\n".to_vec(), narrow.repeat(50)].concat()),
        1.0,
    );
    let mut wide = vec![0x44];
    wide.resize(61, 1);
    close(
        seconds(&[b"#!AMR-WB\n".to_vec(), wide.repeat(50)].concat()),
        1.0,
    );
}

#[test]
fn other_files_have_no_duration() {
    for bytes in [
        &b""[..],
        b"RIFF",
        b"RIFF\0\0\0\0WEBP",
        b"<html>",
        &[0xff; 5_000],
        &[0; 5_000],
    ] {
        assert_eq!(seconds(bytes), None);
    }
}

/// The first bytes of every supported format.
fn beginnings() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(wave(0, u32::MAX, 4, &[])),
        Just(b"RF64\0\0\0\0WAVEds64".to_vec()),
        Just(b"FORM\0\0\0\0AIFFCOMM".to_vec()),
        Just(b"caff\0\x01\0\0desc\0\0\0\0\0\0\0\x20".to_vec()),
        Just(b"fLaC".to_vec()),
        Just([b"fLaC".to_vec(), stream_information(16_000, 0)].concat()),
        Just(b".snd\0\0\0\x1c\0\0\0\0".to_vec()),
        Just(b"RIFX\0\0\0\0WAVEfmt ".to_vec()),
        Just(b"RIFF\0\0\0\0WAVEfmt \x14\0\0\0\x11\0\x02\0\x80\x3e\0\0".to_vec()),
        Just(page(7, 0, b"OpusHead\x01\x01\x38\x01")),
        Just(b"\x1a\x45\xdf\xa3\x18\x53\x80\x67".to_vec()),
        Just(b"\x30\x26\xb2\x75".to_vec()),
        Just(b"#!AMR\n".to_vec()),
        Just(boxed(b"ftyp", b"M4A ")),
        Just(movie(1, 1, 0, &[])),
        Just(mp3(1)),
    ]
}

proptest! {
    #[test]
    fn no_input_causes_a_panic(
        begin in beginnings(),
        rest in proptest::collection::vec(any::<u8>(), 0..600),
        flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..6),
        kept in 0usize..700,
    ) {
        let mut bytes = [begin, rest].concat();
        for (at, byte) in flips {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let _whole = seconds(&bytes);
        let _ends = seconds_of_ends(&bytes, kept);
    }
}
