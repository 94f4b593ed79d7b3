//! Remote write against messages made and read by prost's derived code, and against bad bodies.

use labstat_model::limits::{LABEL_VALUE_LEN_MAX, WRITE_BODY_LEN_MAX, WRITE_SAMPLES_MAX};
use labstat_model::{
    Batch, BucketCount, Family, Histogram, HistogramError, HistogramSample, Kind, Labels, Metadata,
    ResetHint, Sample, TimeSeries, WriteRequest, stale_marker,
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;

/// The protocol's messages as prost would generate them: an independent reading of the format.
mod oracle {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        pub(super) timeseries: Vec<TimeSeries>,
        #[prost(message, repeated, tag = "3")]
        pub(super) metadata: Vec<MetricMetadata>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        pub(super) labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub(super) samples: Vec<Sample>,
        #[prost(bytes = "vec", repeated, tag = "3")]
        pub(super) exemplars: Vec<Vec<u8>>,
        #[prost(bytes = "vec", repeated, tag = "4")]
        pub(super) histograms: Vec<Vec<u8>>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Histogram {
        #[prost(uint64, optional, tag = "1")]
        pub(super) count_int: Option<u64>,
        #[prost(double, optional, tag = "2")]
        pub(super) count_float: Option<f64>,
        #[prost(double, tag = "3")]
        pub(super) sum: f64,
        #[prost(sint32, tag = "4")]
        pub(super) schema: i32,
        #[prost(double, tag = "5")]
        pub(super) zero_threshold: f64,
        #[prost(uint64, optional, tag = "6")]
        pub(super) zero_count_int: Option<u64>,
        #[prost(double, optional, tag = "7")]
        pub(super) zero_count_float: Option<f64>,
        #[prost(message, repeated, tag = "8")]
        pub(super) negative_spans: Vec<Span>,
        #[prost(sint64, repeated, tag = "9")]
        pub(super) negative_deltas: Vec<i64>,
        #[prost(double, repeated, tag = "10")]
        pub(super) negative_counts: Vec<f64>,
        #[prost(message, repeated, tag = "11")]
        pub(super) positive_spans: Vec<Span>,
        #[prost(sint64, repeated, tag = "12")]
        pub(super) positive_deltas: Vec<i64>,
        #[prost(double, repeated, packed = "false", tag = "13")]
        pub(super) positive_counts: Vec<f64>,
        #[prost(int32, tag = "14")]
        pub(super) reset_hint: i32,
        #[prost(int64, tag = "15")]
        pub(super) timestamp: i64,
        #[prost(double, repeated, tag = "16")]
        pub(super) custom_values: Vec<f64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Span {
        #[prost(sint32, tag = "1")]
        pub(super) offset: i32,
        #[prost(uint32, tag = "2")]
        pub(super) length: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Label {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) name: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) value: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Sample {
        #[prost(double, tag = "1")]
        pub(super) value: f64,
        #[prost(int64, tag = "2")]
        pub(super) timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct MetricMetadata {
        #[prost(int32, tag = "1")]
        pub(super) r#type: i32,
        #[prost(string, tag = "2")]
        pub(super) metric_family_name: String,
        #[prost(string, tag = "4")]
        pub(super) help: String,
        #[prost(string, tag = "5")]
        pub(super) unit: String,
    }
}

fn oracle_series(labels: &[(&[u8], &[u8])], samples: &[(i64, f64)]) -> oracle::TimeSeries {
    oracle::TimeSeries {
        labels: labels
            .iter()
            .map(|(name, value)| oracle::Label { name: name.to_vec(), value: value.to_vec() })
            .collect(),
        samples: samples
            .iter()
            .map(|&(timestamp, value)| oracle::Sample { value, timestamp })
            .collect(),
        ..oracle::TimeSeries::default()
    }
}

fn oracle_histogram(histogram: &oracle::Histogram) -> oracle::TimeSeries {
    let mut series = oracle_series(&[(b"__name__", b"h")], &[]);
    series.histograms = vec![histogram.encode_to_vec()];
    series
}

/// What a histogram decodes to.
fn decode_histogram(histogram: &oracle::Histogram) -> HistogramSample {
    let decoded = decode(&oracle_body(vec![oracle_histogram(histogram)])).unwrap();
    assert_eq!((decoded.request.samples_len(), decoded.refused.series), (0, 0));
    let [series] = &*decoded.histograms else { panic!("one series") };
    assert_eq!(series.labels.to_string(), "h");
    let [sample] = &*series.samples else { panic!("one sample") };
    sample.clone()
}

fn side(counts: &[(i32, f64)]) -> Vec<BucketCount> {
    counts.iter().map(|&(index, count)| BucketCount { index, count }).collect()
}

fn span(offset: i32, length: u32) -> oracle::Span {
    oracle::Span { offset, length }
}

fn whole_histogram() -> oracle::Histogram {
    oracle::Histogram {
        count_int: Some(13),
        sum: 18.5,
        schema: -1,
        zero_threshold: 1e-3,
        zero_count_int: Some(2),
        positive_spans: vec![span(-2, 2), span(1, 1)],
        positive_deltas: vec![1, 2, -2],
        negative_spans: vec![span(4, 2)],
        negative_deltas: vec![4, -2],
        reset_hint: 3,
        timestamp: -7,
        ..oracle::Histogram::default()
    }
}

#[test]
fn whole_and_float_histograms_are_read() {
    let mut expected = Histogram {
        hint: ResetHint::Gauge,
        schema: -1,
        count: 13.0,
        sum: 18.5,
        zero_threshold: 1e-3,
        zero_count: 2.0,
        positive: side(&[(-2, 1.0), (-1, 3.0), (1, 1.0)]),
        negative: side(&[(4, 4.0), (5, 2.0)]),
        ..Histogram::default()
    };
    let found = decode_histogram(&whole_histogram());
    assert_eq!(found, HistogramSample { time_ms: -7, histogram: Ok(expected.clone()) });
    let float = oracle::Histogram {
        count_int: None,
        count_float: Some(12.5),
        zero_count_int: None,
        zero_count_float: Some(1.5),
        positive_deltas: Vec::new(),
        positive_counts: vec![1.0, 2.5, 0.0],
        negative_deltas: Vec::new(),
        negative_counts: vec![4.0, 2.0],
        ..whole_histogram()
    };
    (expected.count, expected.zero_count) = (12.5, 1.5);
    expected.positive = side(&[(-2, 1.0), (-1, 2.5), (1, 0.0)]);
    assert_eq!(decode_histogram(&float).histogram, Ok(expected));
}

#[test]
fn custom_buckets_and_stale_markers_are_read() {
    let custom = oracle::Histogram {
        count_int: Some(3),
        schema: -53,
        positive_spans: vec![span(0, 1), span(1, 1)],
        positive_deltas: vec![1, 1],
        custom_values: vec![0.5, 2.0],
        ..oracle::Histogram::default()
    };
    let found = decode_histogram(&custom).histogram.unwrap();
    assert_eq!((found.positive, &*found.bounds), (side(&[(0, 1.0), (2, 2.0)]), &[0.5, 2.0][..]));
    let stale = oracle::Histogram { sum: stale_marker(), ..whole_histogram() };
    assert!(decode_histogram(&stale).histogram.unwrap().is_stale());
}

#[test]
fn hostile_histograms_are_refused_and_their_neighbours_kept() {
    use HistogramError as E;
    let whole = whole_histogram;
    let float = |positive_counts: Vec<f64>| oracle::Histogram {
        count_float: Some(3.0),
        positive_spans: vec![span(0, u32::try_from(positive_counts.len()).unwrap())],
        positive_counts,
        ..oracle::Histogram::default()
    };
    let cases = [
        (oracle::Histogram { schema: 9, ..whole() }, E::Schema(9)),
        (
            oracle::Histogram { count_int: Some(12), ..whole() },
            E::CountMismatch { count: 12.0, buckets: 13.0 },
        ),
        (oracle::Histogram { positive_deltas: vec![1, -2, 1], ..whole() }, E::Count),
        (oracle::Histogram { positive_deltas: vec![i64::MAX, 2, 1], ..whole() }, E::Count),
        (
            oracle::Histogram { positive_spans: vec![span(0, u32::MAX)], ..whole() },
            E::SpanMismatch { spans: u64::from(u32::MAX), counts: 3 },
        ),
        (oracle::Histogram { positive_spans: vec![span(i32::MAX, 3)], ..whole() }, E::SpanOverflow),
        (
            oracle::Histogram { positive_spans: vec![span(0, 1), span(-1, 2)], ..whole() },
            E::SpanOffset,
        ),
        (
            oracle::Histogram { positive_spans: vec![span(0, 0); 5000], ..whole() },
            E::TooManyBuckets,
        ),
        (oracle::Histogram { positive_deltas: vec![0; 50_000], ..whole() }, E::TooManyBuckets),
        (oracle::Histogram { custom_values: vec![0.0; 50_000], ..whole() }, E::TooManyBuckets),
        (float(vec![1.0; 600]), E::TooManyBuckets),
        (float(vec![f64::NAN]), E::Count),
        (float(vec![-1.0]), E::Count),
    ];
    for (histogram, error) in cases {
        let neighbour = oracle_series(&[(b"__name__", b"up")], &[(1, 1.0)]);
        let decoded = decode(&oracle_body(vec![oracle_histogram(&histogram), neighbour])).unwrap();
        assert_eq!(decoded.histograms[0].samples[0].histogram, Err(error));
        assert_eq!(decoded.request.samples_len(), 1);
    }
}

#[test]
fn broken_histogram_messages_are_malformed_and_too_many_too_large() {
    let series = |bytes: &[u8]| oracle::TimeSeries {
        histograms: vec![bytes.to_vec()],
        ..oracle_series(&[(b"__name__", b"h")], &[(1, 1.0)])
    };
    // A field that breaks off, a count of another type, a packed list that breaks off, and one
    // whose bytes are no doubles.
    for bytes in [&b"\x0a"[..], b"\x09\0\0\0\0\0\0\0\0", b"\x62\x01\xff", b"\x6a\x03abc"] {
        let error = decode(&oracle_body(vec![series(bytes)])).unwrap_err();
        assert!(!error.is_too_large(), "{error}");
    }
    let mut many = oracle_series(&[(b"__name__", b"h")], &[]);
    many.histograms = vec![Vec::new(); WRITE_SAMPLES_MAX / 5 + 1];
    assert!(decode(&oracle_body(vec![many])).unwrap_err().is_too_large());
}

#[test]
fn prost_reads_the_histograms_we_write() {
    let histogram = decode_histogram(&whole_histogram()).histogram.unwrap();
    let custom = Histogram {
        schema: Histogram::CUSTOM_SCHEMA,
        bounds: [1.0, 2.0].into(),
        positive: side(&[(1, 1.0)]),
        count: 1.0,
        ..Histogram::default()
    };
    let mut message = Message::new();
    message.histograms([("__name__", "h")], [(-7, &histogram), (8, &custom)]);
    assert_eq!(message.samples_len(), 2);
    let read = oracle::WriteRequest::decode(message.as_bytes()).unwrap();
    let read = oracle::Histogram::decode(&*read.timeseries[0].histograms[0]).unwrap();
    let expected = oracle::Histogram {
        count_int: None,
        count_float: Some(13.0),
        zero_count_int: None,
        zero_count_float: Some(2.0),
        positive_deltas: Vec::new(),
        positive_counts: vec![1.0, 3.0, 1.0],
        negative_deltas: Vec::new(),
        negative_counts: vec![4.0, 2.0],
        ..whole_histogram()
    };
    assert_eq!(read, expected);
    let back = decode(&message.to_body().unwrap()).unwrap();
    let samples: Vec<Histogram> =
        back.histograms[0].samples.iter().map(|s| s.histogram.clone().unwrap()).collect();
    assert_eq!(samples, [histogram, custom]);
}

fn oracle_body(timeseries: Vec<oracle::TimeSeries>) -> Vec<u8> {
    let request = oracle::WriteRequest { timeseries, metadata: vec![] };
    compress(&request.encode_to_vec()).unwrap()
}

/// What one series of these labels and the sample `1 @ 1000` decodes to.
fn decode_one(labels: &[(&[u8], &[u8])]) -> Decoded {
    decode(&oracle_body(vec![oracle_series(labels, &[(1000, 1.0)])])).unwrap()
}

fn refused(labels: &[(&[u8], &[u8])]) -> String {
    let decoded = decode_one(labels);
    assert!(decoded.request.series.is_empty());
    assert_eq!((decoded.refused.series, decoded.refused.samples), (1, 1));
    decoded.refused.first.unwrap().to_string()
}

#[test]
fn prost_reads_what_we_write() {
    static LOAD: Family = Family::gauge("load", "Load.");
    let mut batch = Batch::new();
    batch.push(&LOAD, &[("Upper", "x"), ("job", "own")], -0.5);
    let mut message = Message::new();
    message.samples(batch.iter(), &[("instance", "vertex"), ("job", "node")], -5);
    message.metadata("load", Kind::Gauge, "Load.", "");
    assert_eq!(message.samples_len(), 1);
    let bytes = snap::raw::Decoder::new().decompress_vec(&message.to_body().unwrap()).unwrap();
    let read = oracle::WriteRequest::decode(&*bytes).unwrap();
    let labels: [(&[u8], &[u8]); 4] =
        [(b"Upper", b"x"), (b"__name__", b"load"), (b"instance", b"vertex"), (b"job", b"node")];
    assert_eq!(read.timeseries, [oracle_series(&labels, &[(-5, -0.5)])]);
    assert_eq!(read.metadata[0].r#type, 2);
    assert_eq!(read.metadata[0].metric_family_name, "load");
}

#[test]
fn we_read_what_prost_writes() {
    let decoded = decode_one(&[(b"__name__", b"up"), (b"job", b"node")]);
    let labels = Labels::new([("__name__", "up"), ("job", "node")]);
    let samples = vec![Sample { time_ms: 1000, value: 1.0 }];
    assert_eq!(decoded.request.series, [TimeSeries { labels, samples }]);
    assert_eq!(decoded.refused.series, 0);
}

#[test]
fn messages_one_after_the_other_are_one_message() {
    let mut first = Message::new();
    first.series([("__name__", "a")], [Sample { time_ms: 1, value: 1.0 }]);
    let mut second = Message::new();
    second.series([("__name__", "a")], [Sample { time_ms: 2, value: 2.0 }]);
    let both = [first.as_bytes(), second.as_bytes()].concat();
    let decoded = decode(&compress(&both).unwrap()).unwrap();
    assert_eq!(decoded.request.samples_len(), 2);
}

static LOAD: Family = Family::gauge("load", "Load.");

fn round(devices: &[&str], value: f64) -> Batch {
    let mut batch = Batch::new();
    for device in devices {
        batch.push(&LOAD, &[("device", device)], value);
    }
    batch
}

/// A message that is filled anew is the one that would be made: with values of every kind, times
/// of every length, and after the series changed.
#[test]
fn a_message_is_filled_anew_with_values_and_time() {
    let extra = [("instance", "apex"), ("job", "node")];
    let fresh = |batch: &Batch, time_ms| {
        let mut message = Message::new();
        message.samples(batch.iter(), &extra, time_ms);
        message
    };
    let now = 1_700_000_000_000;
    let mut message = fresh(&round(&["a", "b"], 1.0), now);
    for (value, time_ms) in [
        (2.0, now + 10_000),
        (f64::NAN, now + 20_000),
        (stale_marker(), now + 30_000),
        (f64::NEG_INFINITY, now + 30_000),
        (-0.0, 1 << 34),
    ] {
        let refreshed = message.refresh([value, value + 1.0], time_ms);
        let mut wanted = round(&["a"], value);
        wanted.push(&LOAD, &[("device", "b")], value + 1.0);
        let wanted = fresh(&wanted, time_ms);
        if time_ms < 1 << 35 {
            assert!(!refreshed, "another number of bytes");
        } else {
            assert!(refreshed);
            assert_eq!(message.as_bytes(), wanted.as_bytes());
        }
        assert_eq!(message.samples_len(), 2);
    }
    for (time_ms, other_ms) in [(127, 128), (0, -1), (-1, 0), (128, 127)] {
        let mut message = fresh(&round(&["a"], 1.0), time_ms);
        assert!(!message.refresh([1.0], other_ms));
        message.clear();
        message.samples(round(&["a"], 3.0).iter(), &extra, other_ms);
        assert!(message.refresh([4.0], other_ms));
        assert_eq!(message.as_bytes(), fresh(&round(&["a"], 4.0), other_ms).as_bytes());
    }
}

#[test]
fn a_message_with_other_samples_is_not_filled_anew() {
    let mut message = Message::new();
    message.samples(round(&["a", "b"], 1.0).iter(), &[], 1);
    assert!(!message.clone().refresh([1.0], 1), "too few values");
    assert!(!message.clone().refresh([1.0; 3], 1), "too many");
    assert!(message.clone().refresh([1.0; 2], 1));
    message.metadata("load", Kind::Gauge, "Load.", "");
    assert!(message.clone().refresh([1.0; 2], 1), "what is known of families is no sample");
    message.series([("__name__", "up")], [Sample { time_ms: 1, value: 1.0 }]);
    assert!(!message.refresh([1.0; 2], 1), "a sample that came another way");
    assert!(Message::new().refresh([], 1));
}

#[test]
fn blocks_do_not_depend_on_those_before() {
    let mut compressor = Compressor::default();
    for len in [100_000, 10, 0, 70_000, 200_000] {
        let bytes: Vec<u8> =
            (0..len).map(|at| u8::try_from(at / 3 % 7 + at % 241).unwrap()).collect();
        let block = compressor.compress(&bytes).unwrap().to_vec();
        assert_eq!(decompress(&block).unwrap(), bytes);
        assert_eq!(compress(&bytes).unwrap(), block);
    }
}

#[test]
fn stale_marker_survives_bit_by_bit() {
    let series = oracle_series(&[(b"__name__", b"up")], &[(1, stale_marker()), (2, f64::NAN)]);
    let decoded = decode(&oracle_body(vec![series])).unwrap();
    let bits: Vec<u64> =
        decoded.request.series[0].samples.iter().map(|s| s.value.to_bits()).collect();
    assert_eq!(bits, [labstat_model::STALE_BITS, f64::NAN.to_bits()]);
}

#[test]
fn exemplars_are_counted_and_the_samples_kept() {
    let mut series = oracle_series(&[(b"__name__", b"up")], &[(1, 1.0)]);
    series.exemplars = vec![b"x".to_vec()];
    let decoded = decode(&oracle_body(vec![series, oracle_series(&[], &[])])).unwrap();
    assert_eq!(decoded.ignored, Ignored { exemplars: 1 });
    assert_eq!(decoded.request.samples_len(), 1);
    assert_eq!(decoded.request.series.len(), 1, "a series without samples is not kept");
}

#[test]
fn unsorted_labels_are_sorted_and_empty_values_absent() {
    let decoded = decode_one(&[(b"job", b"x"), (b"__name__", b"up"), (b"none", b"")]);
    assert_eq!(decoded.request.series[0].labels.to_string(), r#"up{job="x"}"#);
}

#[test]
fn bad_labels_are_named_and_cost_only_their_series() {
    assert_eq!(
        refused(&[(b"__name__", b"up"), (b"a", b"1"), (b"a", b"2")]),
        r#"series {__name__="up", a="1", a="2"}: label "a" given twice"#
    );
    assert_eq!(
        refused(&[(b"__name__", b"up"), (b"", b"1")]),
        r#"series {__name__="up", ="1"}: label with an empty name"#
    );
    assert_eq!(refused(&[(b"a", b"1")]), r#"series {a="1"} has no metric name (label __name__)"#);
    assert_eq!(
        refused(&[(b"__name__", b"")]),
        r#"series {__name__=""} has no metric name (label __name__)"#
    );
    assert_eq!(refused(&[]), "series {} has no metric name (label __name__)");
    assert_eq!(refused(&[(b"a\xff", b"1")]), "label name \"a\u{fffd}\" is not UTF-8");
    assert_eq!(
        refused(&[(b"__name__", b"up"), (b"a", b"\xc3")]),
        r#"value of label "a" is not UTF-8"#
    );
    let long = vec![b'x'; LABEL_VALUE_LEN_MAX + 1];
    assert!(refused(&[(b"__name__", &long)]).ends_with("bytes, over the limit of 4096"));
    let many: Vec<(&[u8], &[u8])> = vec![(b"a", b"1"); 65];
    assert!(refused(&many).ends_with(": 65 labels, over the limit of 64"));

    let good = oracle_series(&[(b"__name__", b"up")], &[(1, 1.0)]);
    let bad = oracle_series(&[], &[(1, 1.0), (2, 1.0)]);
    let decoded = decode(&oracle_body(vec![bad, good])).unwrap();
    assert_eq!((decoded.request.samples_len(), decoded.refused.samples), (1, 2));
}

/// The reason for which `body` is refused, and whether it is one of size.
fn error(body: &[u8]) -> (String, bool) {
    let error = decode(body).unwrap_err();
    (error.to_string(), error.is_too_large())
}

#[test]
fn bombs_are_refused_by_their_header() {
    // A varint of 4 GiB - 1, and one of 32 MiB that three bytes cannot become.
    let (text, large) = error(b"\xff\xff\xff\xff\x0f\x00");
    assert_eq!(text, "body decompresses to 4294967295 bytes, over the limit of 33554432");
    assert!(large);
    let (text, large) = error(b"\x80\x80\x80\x10\x00");
    assert_eq!(text, "body of 5 bytes claims to decompress to 33554432, which snappy cannot do");
    assert!(!large);
    assert!(error(&vec![0; WRITE_BODY_LEN_MAX + 1]).1);
    // The densest block that snappy makes must still be taken for what it is.
    let dense = compress(&vec![0; 1024 * 1024]).unwrap();
    assert!(error(&dense).0.starts_with("failed to parse write request at byte 0"), "not a bomb");
}

#[test]
fn what_is_no_snappy_or_no_protobuf_is_named() {
    assert_eq!(error(b"").0, "body is not a valid snappy block");
    assert_eq!(error(b"\x05hello").0, "body is not a valid snappy block");
    assert!(error(b"\xff\x06\x00\x00sNaPpYxyz").0.contains("framing format"));
    let text = |message: &[u8]| error(&compress(message).unwrap()).0;
    assert_eq!(
        text(b"\x0a\x7fxx"),
        "write request at byte 0 of the message claims 127 bytes, 2 are left"
    );
    assert_eq!(
        text(b"\x0a\x02\x0a\x05"),
        "time series at byte 2 of the message claims 5 bytes, 0 are left"
    );
    assert_eq!(
        text(b"\x08\x01"),
        "field 1 of write request at byte 0 of the message has wire type varint"
    );
    assert_eq!(text(b"\x0b"), "failed to parse write request at byte 0 of the message");
    // Sample.value as a varint.
    assert!(text(b"\x0a\x04\x12\x02\x08\x01").starts_with("field 1 of sample at byte 4"));
    assert!(text(b"\x22\x00").contains("remote write 2.0"));
    assert!(text(b"\x2a\x00").contains("remote write 2.0"));
}

#[test]
fn an_empty_message_carries_nothing() {
    let decoded = decode(&compress(b"").unwrap()).unwrap();
    assert_eq!(decoded.request, WriteRequest::default());
}

#[test]
fn too_many_samples_are_too_large() {
    // The shortest sample is an empty message: two bytes.
    let mut series = b"\x0a\x0d\x0a\x08__name__\x12\x01a".to_vec();
    series.extend([0x12, 0x00].repeat(WRITE_SAMPLES_MAX + 1));
    let mut message = vec![0x0a];
    prost::encoding::encode_varint(series.len() as u64, &mut message);
    message.extend(series);
    let (text, large) = error(&compress(&message).unwrap());
    assert_eq!(text, "more than 1000000 samples in one request");
    assert!(large);
}

#[test]
fn too_much_metadata_is_too_large() {
    let message = b"\x1a\x03\x12\x01a".repeat(METADATA_MAX + 1);
    let (text, large) = error(&compress(&message).unwrap());
    assert_eq!(text, "more than 50000 metadata entries in one request");
    assert!(large);
}

#[test]
fn metadata_without_a_family_is_nothing_and_long_help_is_cut() {
    let entry = |family: &str, help: String| oracle::MetricMetadata {
        r#type: 7,
        metric_family_name: family.to_owned(),
        help,
        unit: "bytes".to_owned(),
    };
    let metadata = vec![entry("", String::new()), entry("a", "x".repeat(5000))];
    let request = oracle::WriteRequest { timeseries: vec![], metadata };
    let decoded = decode(&compress(&request.encode_to_vec()).unwrap()).unwrap();
    let [kept] = &decoded.request.metadata[..] else { panic!("{decoded:?}") };
    assert_eq!((kept.kind, kept.help.len(), &*kept.unit), (Kind::Gauge, 4096, "bytes"));
}

#[test]
fn unknown_fields_are_skipped() {
    // Field 9 in all wire types, a group among them, then a series.
    let mut message = b"\x48\x01\x49\x00\x00\x00\x00\x00\x00\x00\x00\x4a\x01x\x4b\x08\x01\x4c\x4d\x00\x00\x00\x00".to_vec();
    let request = oracle::WriteRequest {
        timeseries: vec![oracle_series(&[(b"__name__", b"up")], &[(1, 1.0)])],
        metadata: vec![],
    };
    message.extend(request.encode_to_vec());
    assert_eq!(decode(&compress(&message).unwrap()).unwrap().request.samples_len(), 1);
}

fn requests() -> impl Strategy<Value = WriteRequest> {
    let labels = prop::collection::btree_map("[a-zA-Z_:]{1,12}|\\PC{1,6}", "\\PC{1,20}", 0..6)
        .prop_map(|mut pairs| {
            pairs.entry("__name__".to_owned()).or_insert_with(|| "m".to_owned());
            Labels::new(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())))
        });
    let samples = prop::collection::vec((any::<i64>(), any::<u64>()), 1..4).prop_map(|samples| {
        let sample = |(time_ms, bits)| Sample { time_ms, value: f64::from_bits(bits) };
        samples.into_iter().map(sample).collect::<Vec<_>>()
    });
    let series = (labels, samples).prop_map(|(labels, samples)| TimeSeries { labels, samples });
    let kinds = prop::sample::select(vec![
        Kind::Counter,
        Kind::Gauge,
        Kind::Histogram,
        Kind::Summary,
        Kind::Untyped,
    ]);
    let metadata = ("[a-z]{1,9}", kinds, "\\PC{0,30}", "[a-z]{0,5}")
        .prop_map(|(family, kind, help, unit)| Metadata { family, kind, help, unit });
    (prop::collection::vec(series, 0..8), prop::collection::vec(metadata, 0..4))
        .prop_map(|(series, metadata)| WriteRequest { series, metadata })
}

proptest! {
    #[test]
    fn round_trip(request in requests()) {
        let decoded = decode(&encode(&request).unwrap()).unwrap();
        prop_assert_eq!(decoded.request, request);
        prop_assert_eq!(decoded.refused.series, 0);
    }

    #[test]
    fn any_bytes_as_a_body_are_decoded_or_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&body);
    }

    /// Whatever the message says, what is kept is not larger than the message.
    #[test]
    fn any_bytes_as_a_message_cost_bounded_memory(
        message in prop::collection::vec(
            prop::sample::select(vec![0x0a_u8, 0x12, 0x1a, 0x22, 0, 1, 2, 3, 5, 8, 9, 0x10, 0x80, 0xff]),
            0..400,
        ),
    ) {
        if let Ok(decoded) = decode(&compress(&message).unwrap()) {
            let kept = decoded.request.samples_len() + decoded.request.metadata.len();
            prop_assert!(kept * 2 <= message.len());
            prop_assert!(decoded.request.series.iter().all(|s| s.samples.capacity() <= message.len()));
        }
    }

    /// A valid message with one byte changed is decoded or refused, never a panic.
    #[test]
    fn a_flipped_byte_never_panics(request in requests(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut message = decompress(&encode(&request).unwrap()).unwrap();
        if !message.is_empty() {
            let at = at.index(message.len());
            message[at] = byte;
            let _ = decode(&compress(&message).unwrap());
        }
    }
}
