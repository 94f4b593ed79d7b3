//! Columns come back bit for bit, those that earlier versions wrote too, and of hostile bytes nothing
//! worse than an error comes. Not here: whole blobs.

use labstat_model::stale_marker;
use proptest::prelude::*;

use super::*;

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Codec, scale and the lane's shape, once the column came back whole and in part.
fn round_trip(column: &[f64]) -> (u8, u8, Shape) {
    let (mut head, mut bytes) = (Vec::new(), b"before".to_vec());
    let coded = Encoder::default().push(column, &mut head, &mut bytes);
    let shape = coded.shape;
    let stride = shape.plane_len(column.len());
    assert_eq!(bytes.len(), 6 + stride * shape.planes(), "{shape:?}");
    let lane = Lane { bytes: &bytes, start: 6, stride, shape };
    let len = column.len();
    for wanted in
        [0..len, 0..len * 2 / 3, len / 3..len * 2 / 3, len / 2..len, len.saturating_sub(1)..len]
    {
        let mut back = vec![7.0];
        values_into(&head, lane, len, wanted.clone(), &mut back).unwrap();
        assert_eq!(bits(&back[..1]), bits(&[7.0]));
        assert_eq!(bits(&back[1..]), bits(&column[wanted.clone()]), "{wanted:?} {column:?}");
    }
    (head.first().copied().unwrap_or(0), head.get(1).copied().unwrap_or(0), shape)
}

fn nasty() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        any::<i32>().prop_map(|int| f64::from(int) / 10.0),
        any::<i32>().prop_map(|int| f64::from(int) * 0.001),
        (0_u32..100).prop_map(f64::from),
        Just(7.0),
        prop::sample::select(vec![
            0.0,
            -0.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            stale_marker(),
            f64::MIN_POSITIVE / 8.0,
            f64::MAX,
            f64::MIN,
            9_007_199_254_740_991.0,
            9_007_199_254_740_993.0,
            -9_007_199_254_740_991.0,
            0.1 + 0.2,
        ]),
    ]
}

/// Columns that hold to one kind of value, as series do.
fn column() -> impl Strategy<Value = Vec<f64>> {
    let of = |value: BoxedStrategy<f64>| prop::collection::vec(value, 1..400);
    let thousandths = (0_i32..1 << 20).prop_map(|int| 1e4 + f64::from(int) * 0.001);
    let rare = (0_u32..30).prop_map(|int| if int == 7 { 512.0 } else { 0.0 });
    let sensor = (0_u32..8).prop_map(|int| 40.0 + f64::from(int) / 10.0);
    let roots = any::<u32>().prop_map(|int| f64::from(int).sqrt());
    let summed = |mut column: Vec<f64>| {
        let mut sum = 0.0;
        for value in &mut column {
            sum += *value;
            *value = sum;
        }
        column
    };
    let kinds = prop_oneof![
        of(nasty().boxed()),
        of(thousandths.boxed()),
        of(rare.boxed()),
        of(sensor.boxed()),
        of(roots.boxed()),
    ];
    let marked = (kinds, any::<bool>(), any::<bool>());
    marked.prop_map(move |(column, sum, ends)| {
        let mut column = if sum { summed(column) } else { column };
        column.extend(ends.then(stale_marker));
        column
    })
}

#[test]
fn every_kind_of_column_takes_its_codec() {
    let of = |value: &dyn Fn(u32) -> f64| (0..200).map(value).collect::<Vec<f64>>();
    let noise = |at: u32| f64::from(at.wrapping_mul(2_654_435_761) >> 20);
    let sensor = of(&|at| 40.0 + f64::from(at % 3) / 10.0);
    let mut ended = sensor.clone();
    ended.push(stale_marker());
    let (one_byte, two_bits) = (Shape(Shape::BYTE), Shape(1));
    assert_eq!(round_trip(&[5.0; 50]), (CONSTANT, 0, Shape::NONE));
    assert_eq!(round_trip(&of(&|at| f64::from(at / 50))), (SPARSE, 0, Shape::NONE));
    assert_eq!(round_trip(&sensor), (LEVELS, 1, two_bits));
    assert_eq!(round_trip(&ended), (LEVELS, 1, two_bits), "a marker is an exception");
    let counter = of(&|at| f64::from(at * at * at) * 4096.0 + 7.0);
    assert_eq!(round_trip(&counter).0, CURVES);
    let steady = of(&|at| f64::from(at) * 1e6 + noise(at) / 100.0);
    assert_eq!(round_trip(&steady).0, STEPS);
    assert_eq!(round_trip(&of(&|at| f64::from(at * at) * 1e20 / 7.0)).1, FLOAT_BYTE);
    let micros = of(&|at| (f64::from(at) * 1e5 + noise(at)) * 1e-6);
    let (_, scale, shape) = round_trip(&micros);
    assert_eq!((scale / CORRECTED_BYTE, shape.has_two_lanes()), (1, true));
    assert_eq!(round_trip(&of(&|at| f64::from(at) + noise(at) % 64.0)).2, one_byte);
    round_trip(&[]);
}

#[test]
fn a_single_odd_value_does_not_make_a_column_wide() {
    let mut column: Vec<f64> = (0..160).map(|at| f64::from(at % 5) * 1e9).collect();
    column[0] = 1.0 / 3.0;
    column[80] = -0.0;
    column[159] = f64::INFINITY;
    assert_eq!(round_trip(&column).2, Shape(2));
}

/// One column of every codec and scale.
fn kept() -> [Vec<f64>; 7] {
    let of = |value: &dyn Fn(u32) -> f64| (0..12).map(value).collect::<Vec<f64>>();
    let mut sensor = of(&|at| 40.0 + f64::from(at % 3) / 10.0);
    sensor[5] = stale_marker();
    let mut rare = of(&|_| 3.0);
    rare.extend([1e15, 1e15]);
    [
        vec![-0.0; 3],
        rare,
        sensor,
        of(&|at| f64::from(at * 1_000 + at * 7 % 3) * 512.0),
        of(&|at| f64::from(at * at * at)),
        of(&|at| f64::from(at * 777_777 + at * at) * 1e-3),
        of(&|at| f64::from(at * at + 1) * 1e20 / 7.0),
    ]
}

#[test]
fn columns_of_version_2_are_read_for_ever() {
    let bytes = |hex: &str| -> Vec<u8> {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(byte).collect()
    };
    let written = [
        (0, "000000000000000080", ""),
        (0, "01000006fdff99a6eaafe3010c01", ""),
        (1, "02010105020000000000f07fa00601", "244592"),
        (2, "030000008004d20f", "005000055000"),
        (3, "040000000102", "00000c1824303c4854606c78"),
        (19, "0313000002bcbc2f", "00090705030100020406080a000000000200000000020000"),
        (
            9,
            "032000cadcb2e8b588e4e8870101e8b7f1bff2b2c208",
            "000e1b0e050200030503090800f65af6ab92009f6bdf6ee7006879685c5800b0c74598ec00d8afd83600\
             006a5e434f1a0003460391c000e12d44c8b800a4cfa44378001d63fd99470018aa186a8600410f9bb14d",
        ),
    ];
    for ((shape, head, lane), wanted) in written.into_iter().zip(kept()) {
        let (head, bytes) = (bytes(head), bytes(lane));
        let (shape, count) = (Shape::of_byte(shape).unwrap(), wanted.len());
        let lane = Lane { bytes: &bytes, start: 0, stride: shape.plane_len(count), shape };
        let mut back = Vec::new();
        values_into(&head, lane, count, 0..count, &mut back).unwrap();
        assert_eq!(bits(&back), bits(&wanted));
    }
}

/// As the last version that wrote them did.
#[test]
fn columns_of_version_1_are_still_read() {
    let sensor: Vec<f64> = (0..7).map(|at| 40.0 + f64::from(at % 3) / 10.0).collect();
    let ended: Vec<f64> = sensor.into_iter().chain([stale_marker()]).collect();
    let counter: Vec<f64> = (0..8).map(|at| f64::from(at * at) * 4096.0 + 7.0).collect();
    let columns: [(&[u8], &[f64]); 5] = [
        (b"\x00\0\0\0\0\0\0\x14\x40", &[5.0; 4]),
        (b"\x01\x01\x01\x07\x02\0\0\0\0\0\xf0\x7f\xa0\x06\x01\x02\x02\x03\x02\x02\x03\0", &ended),
        (b"\x01\0\0\x0e\x80\x20\x02\x06\x0a\x0e\x12\x16\x1a", &counter),
        (
            b"\x03\xfc\x3f\x02\xfc\x7f\xfc\x7f\x80\xe7\x9f\xe1\x93\x82\x80\xd7\x39\xff\xd8\x9f\xe1\x93\x82\x80\xd7\x39",
            &[1.5, f64::NAN, 2.5, f64::NAN, 1e300, -0.0],
        ),
        (b"\x04\x9a\x99\x99\x99\x99\x99\xb9\x3f", &[0.1]),
    ];
    for (bytes, wanted) in columns {
        assert_eq!(bits(&v1::values(bytes, wanted.len()).unwrap()), bits(wanted));
        assert!(v1::values(bytes, wanted.len() + 1).is_err() || bytes[0] == CONSTANT);
    }
}

#[test]
fn floats_are_in_order_and_back() {
    let ascending = [f64::NEG_INFINITY, -2.0, -1.0, -0.0, 0.0, 1.0, f64::INFINITY];
    let places = ascending.map(|value| order(value.to_bits().cast_signed()));
    assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
    let back = places.map(|place| f64::from_bits(order(place).cast_unsigned()));
    assert_eq!(bits(&back), bits(&ascending));
}

#[test]
fn regular_times_take_a_few_bytes() {
    let regular: Vec<i64> = (0..5_000).map(|at| 1_700_000_000_000 + at * 15_000).collect();
    let mut out = Vec::new();
    push_times(&mut out, &regular);
    assert!(out.len() < 16, "{}", out.len());
    assert_eq!(times(&out, regular.len()).unwrap(), regular);
    assert!(times(&out, regular.len() - 1).is_err());
    assert!(times(&out, regular.len() + 1).is_err());
    // Those of a clock that is a millisecond early or late, and once misses its hour.
    let late = |at: i64| at % 3 - 1 + if at > 4_000 { 3_600_000 } else { 0 };
    let wavering: Vec<i64> = (0..5_000).map(|at| at * 15_000 + late(at)).collect();
    let mut out = Vec::new();
    push_times(&mut out, &wavering);
    assert!(out.len() < 4 * 5_000, "{}", out.len());
    assert!(out.iter().filter(|&&byte| byte > 9).count() < 5_000 / 2 + 20);
    assert_eq!(times(&out, wavering.len()).unwrap(), wavering);
    assert!(times(&out, wavering.len() - 1).is_err());
    assert!(times(&out, wavering.len() + 1).is_err());
}

proptest! {
    #[test]
    fn values_come_back_bit_for_bit(column in column()) {
        round_trip(&column);
    }

    #[test]
    fn times_come_back(
        times_in in prop::collection::btree_set(any::<i32>(), 0..200),
        even in any::<bool>(),
    ) {
        let mut column: Vec<i64> = times_in.into_iter().map(i64::from).collect();
        if even {
            let (mut at, mut even) = (0, Vec::new());
            for time in &column {
                at += 15_000 + time.rem_euclid(3);
                even.push(at);
            }
            column = even;
        }
        let mut out = Vec::new();
        push_times(&mut out, &column);
        prop_assert_eq!(times(&out, column.len()), Ok(column));
    }

    #[test]
    fn any_bytes_are_refused_or_read(
        codec in 0_u8..6,
        scale in prop::sample::select(vec![0_u8, 3, 9, 10, 16, 25, 32, 33]),
        rest in prop::collection::vec(any::<u8>(), 0..60),
        shape in any::<u8>(),
        (start, stride) in (0_usize..70, 0_usize..70),
        count in 0_usize..100,
    ) {
        let mut head = vec![codec, scale, 0];
        head.extend(&rest);
        if let Ok(shape) = Shape::of_byte(shape) {
            let lane = Lane { bytes: &rest, start, stride, shape };
            let mut out = Vec::new();
            for first in [0, count / 2, count.saturating_sub(1)] {
                out.clear();
                let _ = values_into(&head, lane, count, first..count, &mut out);
                prop_assert!(out.len() <= count - first);
            }
        }
        let _ = v1::values(&rest, count);
        let _ = times(&rest, count);
    }
}
