//! The data both sides are asked about: made up, but the same on every run.
//!
//! It holds what tells engines apart: counters with resets, gaps and jitter, series that end with
//! a marker of staleness and come back, NaN, infinities, negative zero, huge and tiny values,
//! classic histograms whole and broken, names and labels that clash when something is dropped, gaps
//! as long as the look-back, names in any script, a thousand series of few values, and samples that
//! come late or twice.

use labstat_model::{Labels, Sample, TimeSeries, WriteRequest, stale_marker};

/// The time of the first sample, in milliseconds: a whole hour.
pub(crate) const START_MS: i64 = 1_700_002_800_000;
/// The nominal distance of samples.
pub(crate) const INTERVAL_MS: i64 = 15_000;
/// How long the data goes on.
pub(crate) const LENGTH_MS: i64 = 2 * 3_600_000;
/// Samples of one write, by time: a receiver wants them in order.
const SLICE_MS: i64 = 20 * 60_000;

/// Numbers that look random and are the same on every run (xorshift).
pub(crate) struct Noise(u64);

impl Noise {
    /// Seeds that are near each other give numbers that are not.
    pub(crate) fn new(seed: u64) -> Self {
        let mut noise = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            noise.next();
        }
        noise
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound.max(1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn ticks() -> impl Iterator<Item = i64> {
    (0..=LENGTH_MS / INTERVAL_MS).map(|tick| START_MS + tick * INTERVAL_MS)
}

struct Builder {
    series: Vec<TimeSeries>,
    noise: Noise,
}

impl Builder {
    fn add(&mut self, labels: &[(&str, &str)], samples: Vec<Sample>) {
        self.series.push(TimeSeries { labels: Labels::new(labels.iter().copied()), samples });
    }

    /// A sample per tick for which `value` gives one.
    fn each(
        &mut self,
        labels: &[(&str, &str)],
        mut value: impl FnMut(&mut Noise, usize, i64) -> Option<f64>,
    ) {
        let noise = &mut self.noise;
        let samples = ticks().enumerate().filter_map(|(tick, time_ms)| {
            value(noise, tick, time_ms).map(|value| Sample { time_ms, value })
        });
        let samples = samples.collect();
        self.add(labels, samples);
    }

    fn counters(&mut self) {
        let mut seed = 0;
        for instance in ["vertex", "apex", "zenith"] {
            for method in ["get", "post"] {
                for code in ["200", "404", "500"] {
                    seed += 1;
                    let mut total = 0.0;
                    let reset = 97 * seed % 480;
                    let gap = 100 + 7 * seed..120 + 9 * seed;
                    let labels = [
                        ("__name__", "http_requests_total"),
                        ("job", "api"),
                        ("instance", instance),
                        ("method", method),
                        ("code", code),
                    ];
                    self.each(&labels, |noise, tick, _| {
                        total += (noise.unit() * 20.0).floor();
                        if tick == reset {
                            total = 3.0;
                        }
                        (seed % 4 != 0 || !gap.contains(&tick)).then_some(total)
                    });
                }
            }
        }
        let mut total = 1e9;
        self.each(&[("__name__", "big_counter_total"), ("job", "api")], |noise, _, _| {
            total += noise.unit() * 1e6;
            Some(total)
        });
        self.each(&[("__name__", "slow_total")], |_, tick, _| {
            (tick % 9 == 0).then_some(tick as f64)
        });
        self.each(&[("__name__", "young_total")], |_, tick, _| {
            (tick > 300).then(|| (tick - 300) as f64)
        });
        self.each(&[("__name__", "sawtooth_total")], |_, tick, _| Some((tick % 7) as f64));
    }

    fn gauges(&mut self) {
        for node in ["vertex", "apex", "zenith"] {
            for sensor in ["cpu", "nvme", "board"] {
                let base = 30.0 + (node.len() * sensor.len()) as f64;
                let labels = [
                    ("__name__", "node_temp_celsius"),
                    ("node", node),
                    ("sensor", sensor),
                    ("rack", if node == "apex" { "top" } else { "bottom" }),
                ];
                self.each(&labels, |noise, tick, _| {
                    let wave = (tick as f64 / 40.0).sin() * 8.0;
                    (sensor != "board" || tick % 50 > 4).then(|| base + wave + noise.unit())
                });
            }
        }
        let jitter: Vec<Sample> = ticks()
            .enumerate()
            .map(|(tick, time)| Sample {
                time_ms: time + self.noise.next() as i64 % 4_000 + 4_000,
                value: (tick as f64).sqrt(),
            })
            .collect();
        self.add(&[("__name__", "jittery"), ("job", "api")], jitter);
        for at in 1..=12 {
            let name = format!("node{at}");
            let size = (at * 1000) as f64;
            self.each(&[("__name__", "disk_bytes"), ("device", &name)], |_, tick, _| {
                Some(size - (tick % 11) as f64 * at as f64)
            });
            let model = if at % 2 == 0 { "WD" } else { "Samsung" };
            let labels = [("__name__", "disk_info"), ("device", name.as_str()), ("model", model)];
            self.each(&labels, |_, _, _| Some(1.0));
        }
        self.each(&[("__name__", "boot_time_seconds")], |_, tick, _| {
            Some(1_583_020_799.0 + tick as f64 * 86_400.0 * 3.0)
        });
    }

    /// Values at the edges of what a float can be.
    fn edges(&mut self) {
        let values = [
            ("nan", f64::NAN),
            ("inf", f64::INFINITY),
            ("minusinf", f64::NEG_INFINITY),
            ("zero", 0.0),
            ("minuszero", -0.0),
            ("huge", 1.7e308),
            // Not subnormal: Go's logarithms of those are wrong.
            ("tiny", 4e-300),
            ("one", 1.0),
            ("half", -0.5),
        ];
        for (kind, value) in values {
            self.each(&[("__name__", "edge"), ("kind", kind)], |_, _, _| Some(value));
        }
        self.each(&[("__name__", "mixed_edge"), ("kind", "a")], |_, tick, _| {
            Some(match tick % 10 {
                3 => f64::NAN,
                7 => f64::INFINITY,
                other => other as f64 - 4.5,
            })
        });
        self.each(&[("__name__", "huge_steps")], |_, tick, _| {
            Some(if tick % 2 == 0 { 1.6e308 } else { 1.7e308 })
        });
        self.each(&[("__name__", "cancel")], |_, tick, _| {
            Some([1e100, 1.0, -1e100, 1.0][tick % 4])
        });
    }

    /// Series that end, come back, and take over from each other.
    fn comings_and_goings(&mut self) {
        self.each(&[("__name__", "flappy"), ("id", "a")], |_, tick, _| {
            Some(if tick % 60 == 40 { stale_marker() } else { tick as f64 })
                .filter(|_| tick % 60 <= 40)
        });
        self.each(&[("__name__", "flappy"), ("id", "b")], |_, tick, _| (tick < 200).then_some(7.0));
        self.each(&[("__name__", "flappy"), ("id", "c")], |_, tick, _| {
            (tick > 250).then_some(tick as f64 / 3.0)
        });
        for (version, from, to) in [("1", 0, 240), ("2", 241, 600)] {
            let labels = [("__name__", "build_info"), ("node", "apex"), ("version", version)];
            self.each(&labels, |_, tick, _| {
                let last = tick == to;
                (from..=to).contains(&tick).then(|| if last { stale_marker() } else { 1.0 })
            });
        }
        for name in ["dup_a", "dup_b"] {
            self.each(&[("__name__", name), ("l", "x")], |_, tick, _| Some(tick as f64));
        }
        self.each(&[("__name__", "half_first"), ("l", "x")], |_, tick, _| {
            (tick < 200).then_some(1.0)
        });
        self.each(&[("__name__", "half_second"), ("l", "x")], |_, tick, _| {
            (tick > 300).then_some(2.0)
        });
        self.each(&[("__name__", "dotted.metric"), ("label.x", "1")], |_, tick, _| {
            Some(tick as f64)
        });
        self.each(&[("__name__", "umlaut"), ("ort", "Küche\n\"oben\"")], |_, _, _| Some(3.0));
    }

    /// Series with gaps as long as the look-back, all but, and a millisecond more; some that end and
    /// begin again at every turn, and one that only ever ended.
    fn gaps(&mut self) {
        for (id, extra_ms) in [("exact", 0), ("short", -1), ("long", 1)] {
            let samples = (0..24).map(|at| Sample {
                time_ms: START_MS + at * (300_000 + extra_ms),
                value: at as f64,
            });
            let samples = samples.collect();
            self.add(&[("__name__", "gapped"), ("id", id)], samples);
        }
        self.each(&[("__name__", "restless"), ("id", "a")], |_, tick, _| {
            Some(if tick % 2 == 0 { tick as f64 } else { stale_marker() })
        });
        self.each(&[("__name__", "restless"), ("id", "b")], |_, tick, _| {
            Some(if tick % 7 < 3 { stale_marker() } else { (tick % 5) as f64 })
        });
        self.each(&[("__name__", "restless"), ("id", "c")], |_, tick, _| {
            (tick % 30 == 0).then(stale_marker)
        });
        for (id, first, period) in [("a", 5000.0, 40), ("b", 0.0, 13), ("c", 1.0, 1000)] {
            self.each(&[("__name__", "restart_total"), ("id", id)], |_, tick, _| {
                let since = tick % period;
                // Each life ends with a marker; the next begins at once, from where it likes.
                Some(if since == period - 1 { stale_marker() } else { first + since as f64 })
            });
        }
    }

    /// What `info` adds. All of it all the time: Prometheus 3.5 takes one for another where some
    /// are missing.
    fn infos(&mut self) {
        for (instance, region, version) in [("vertex", "eu", "1"), ("apex", "us", "2")] {
            let labels = [
                ("__name__", "target_info"),
                ("job", "api"),
                ("instance", instance),
                ("region", region),
                ("version", version),
            ];
            self.each(&labels, |_, _, _| Some(1.0));
        }
        for instance in ["vertex", "zenith"] {
            let labels = [
                ("__name__", "rack_info"),
                ("job", "api"),
                ("instance", instance),
                ("rack", "top"),
            ];
            self.each(&labels, |_, tick, _| (tick % 3 == 0).then_some(1.0));
        }
    }

    /// Metrics of the same labels, and names that are not of ASCII.
    fn names(&mut self) {
        for (name, by) in [("twin_one", 1.0), ("twin_two", 2.0)] {
            for a in ["1", "2"] {
                for b in ["1", "2", "3"] {
                    let base = by * (a.len() + b.len()) as f64;
                    self.each(&[("__name__", name), ("a", a), ("b", b)], |_, tick, _| {
                        Some(base + (tick % 4) as f64)
                    });
                }
            }
        }
        for (at, height) in ["niedrig", "hoch", "🚀"].iter().enumerate() {
            let labels = [("__name__", "größe.m"), ("höhe", height), ("a", "1")];
            self.each(&labels, |_, tick, _| Some((tick * (at + 1)) as f64));
        }
    }

    /// A thousand series that have ten values between them.
    fn many(&mut self) {
        for at in 0..1000_usize {
            let (id, group) = (format!("{at:03}"), format!("g{}", at % 7));
            let labels = [("__name__", "many"), ("id", id.as_str()), ("group", group.as_str())];
            self.each(&labels, |_, tick, _| (tick % 18 == 0).then_some((at * 7 % 10) as f64));
        }
    }

    /// Counters whose samples come late: see [`late_writes`].
    fn late(&mut self) {
        for (id, slope) in [("a", 1.0), ("b", 2.5)] {
            self.each(&[("__name__", "late_total"), ("id", id)], |_, tick, _| {
                Some((tick % 200) as f64 * slope)
            });
        }
    }

    fn histograms(&mut self) {
        const BOUNDS: [&str; 6] = ["0.05", "0.1", "0.5", "1", "5", "+Inf"];
        for instance in ["vertex", "apex"] {
            let mut counts = [0.0; 6];
            let mut columns: Vec<Vec<f64>> = Vec::new();
            for _ in ticks() {
                for _ in 0..9 {
                    let seconds = self.noise.unit().powi(3) * 7.0;
                    for (at, bound) in [0.05, 0.1, 0.5, 1.0, 5.0, f64::INFINITY].iter().enumerate()
                    {
                        counts[at] += if seconds <= *bound { 1.0 } else { 0.0 };
                    }
                }
                columns.push(counts.to_vec());
            }
            for (at, le) in BOUNDS.iter().enumerate() {
                let labels =
                    [("__name__", "latency_seconds_bucket"), ("instance", instance), ("le", le)];
                self.each(&labels, |_, tick, _| Some(columns[tick][at]));
            }
            let labels = [("__name__", "latency_seconds_count"), ("instance", instance)];
            self.each(&labels, |_, tick, _| Some(columns[tick][5]));
            let labels = [("__name__", "latency_seconds_sum"), ("instance", instance)];
            self.each(&labels, |_, tick, _| Some(columns[tick][5] * 1.7));
        }
        for (le, count) in [("1", 10.0), ("2", 5.0), ("4", 30.0), ("+Inf", 29.0)] {
            self.each(&[("__name__", "falling_bucket"), ("le", le)], |_, _, _| Some(count));
        }
        for (le, count) in [("-2", 1.0), ("0", 4.0), ("2", 10.0), ("+Inf", 12.0)] {
            self.each(&[("__name__", "signed_bucket"), ("le", le)], |_, _, _| Some(count));
        }
        for (le, count) in [("1", 10.0), ("2", 20.0)] {
            self.each(&[("__name__", "open_bucket"), ("le", le)], |_, _, _| Some(count));
        }
        for (le, count) in [("1", 10.0), ("much", 20.0), ("+Inf", 20.0)] {
            self.each(&[("__name__", "malformed_bucket"), ("le", le)], |_, _, _| Some(count));
        }
        for (le, count) in [("1", 4.0), ("1.0", 4.0), ("Inf", 16.0)] {
            self.each(&[("__name__", "twice_bucket"), ("le", le)], |_, _, _| Some(count));
        }
        for (le, count) in [("1", 0.0), ("+Inf", 0.0)] {
            self.each(&[("__name__", "idle_bucket"), ("le", le)], |_, _, _| Some(count));
        }
    }
}

/// All series, whole.
pub(crate) fn series() -> Vec<TimeSeries> {
    let mut builder = Builder { series: Vec::new(), noise: Noise(0x9e37_79b9_7f4a_7c15) };
    builder.counters();
    builder.gauges();
    builder.edges();
    builder.comings_and_goings();
    builder.histograms();
    builder.gaps();
    builder.names();
    builder.infos();
    builder.many();
    builder.late();
    builder.series.sort_by(|a, b| a.labels.cmp(&b.labels));
    builder.series
}

/// The same as writes, one after the other in time.
pub(crate) fn writes() -> Vec<WriteRequest> {
    sliced(&series())
}

/// The same as writes in which some samples come out of order and some twice: of the series that
/// are called late, every third sample comes after all others, newest first.
pub(crate) fn late_writes() -> Vec<WriteRequest> {
    let is_late = |series: &TimeSeries| series.labels.get("__name__") == Some("late_total");
    let (late, mut in_time): (Vec<_>, Vec<_>) = series().into_iter().partition(is_late);
    let (mut after, mut again) = (Vec::new(), Vec::new());
    for series in late {
        let part = |wanted: &dyn Fn(usize) -> bool| {
            let numbered = series.samples.iter().enumerate();
            let samples = numbered.filter(|(at, _)| wanted(*at)).map(|(_, sample)| *sample);
            TimeSeries { labels: series.labels.clone(), samples: samples.collect() }
        };
        in_time.push(part(&|at| at % 3 != 1));
        after.push(part(&|at| at % 3 == 1));
        again.push(part(&|at| at % 9 == 1));
    }
    let mut writes = sliced(&in_time);
    writes.extend(sliced(&after).into_iter().rev());
    writes.extend(sliced(&again));
    writes
}

fn sliced(series: &[TimeSeries]) -> Vec<WriteRequest> {
    let slices = (0..=LENGTH_MS / SLICE_MS + 1).map(|slice| START_MS + slice * SLICE_MS);
    let write = |from: i64| {
        let part = |series: &TimeSeries| {
            let inside = |sample: &&Sample| (from..from + SLICE_MS).contains(&sample.time_ms);
            let samples: Vec<Sample> = series.samples.iter().filter(inside).copied().collect();
            (!samples.is_empty()).then(|| TimeSeries { labels: series.labels.clone(), samples })
        };
        WriteRequest { series: series.iter().filter_map(part).collect(), metadata: Vec::new() }
    };
    slices.map(write).filter(|write| !write.series.is_empty()).collect()
}
