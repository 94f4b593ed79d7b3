//! The course of a value as a small picture: in letters for what is plain text, as a PNG for mail.
//!
//! The picture has no letters in it and a clear background, so that it suits light and dark pages;
//! what the axes say stands beside it as text.

use crate::history::Illustration;

/// Letters of a picture in text: a line on a phone.
const LETTERS_LEN: usize = 16;

/// Pixels of a picture: twice what it is shown with, for screens with fine pixels.
pub(super) const WIDTH: usize = 1084;
/// See [`WIDTH`].
pub(super) const HEIGHT: usize = 208;

/// Half the width of the line.
const LINE: f32 = 2.4;
/// The radius of the dot at the end.
const DOT: f32 = 7.0;
/// Pixels at the edges that stay free, so that the dot is whole.
const MARGIN: f32 = 10.0;
/// Pixels of a dash of the limit, and from one to the next.
const DASH: (usize, usize) = (14, 24);

type Color = [f32; 3];
const BLUE: Color = [59.0, 130.0, 246.0];
const RED: Color = [225.0, 45.0, 45.0];

/// The course in letters: `▁▂▃▅█`, a dot where nothing is known.
pub(super) fn letters(picture: &Illustration) -> String {
    const LETTERS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let Some((low, high)) = picture.range() else { return String::new() };
    let letter = |part: &[Option<f64>]| {
        let known = part.iter().flatten().copied();
        let Some(top) = known.reduce(f64::max) else { return '·' };
        let share = if high > low { (top - low) / (high - low) } else { 0.4 };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 7, rounded"
        )]
        let at = (share * 7.0).round() as usize;
        LETTERS.get(at).copied().unwrap_or('·')
    };
    let len = picture.values.len();
    let part = |at: usize| {
        let (start, end) = (at * len / LETTERS_LEN, (at + 1) * len / LETTERS_LEN);
        picture.values.get(start..end).unwrap_or_default()
    };
    (0..LETTERS_LEN.min(len))
        .map(|at| if len <= LETTERS_LEN { slice(picture, at) } else { part(at) })
        .map(letter)
        .collect()
}

fn slice(picture: &Illustration, at: usize) -> &[Option<f64>] {
    picture.values.get(at..=at).unwrap_or_default()
}

/// The course as a PNG; `None` when there is nothing to draw.
pub(super) fn png(picture: &Illustration) -> Option<Vec<u8>> {
    let scale = Scale::of(picture)?;
    let mut canvas = Canvas::new();
    let runs = scale.runs(picture);
    for run in &runs {
        canvas.fill(run, &scale);
    }
    if let Some(limit) = scale.limit {
        canvas.dashes(limit);
    }
    for run in &runs {
        canvas.line(run, &scale);
    }
    if let Some(last) = runs.last().and_then(|run| run.last()) {
        canvas.dot(*last, scale.color(last.1));
    }
    canvas.encode()
}

/// Where values lie on the picture.
struct Scale {
    low: f64,
    high: f64,
    /// How far down the limit is.
    limit: Option<f32>,
    is_upper: bool,
}

impl Scale {
    fn of(picture: &Illustration) -> Option<Self> {
        let (mut low, mut high) = picture.range()?;
        let limit = picture.limit.filter(|limit| {
            // A limit that is far off would press the course flat.
            let room = (high - low).max(high.abs() * 0.05) * 3.0;
            *limit >= low - room && *limit <= high + room
        });
        if let Some(limit) = limit {
            (low, high) = (low.min(limit), high.max(limit));
        }
        if high - low <= f64::EPSILON * high.abs() {
            let half = (high.abs() * 0.1).max(0.5);
            (low, high) = (low - half, high + half);
        }
        let mut scale = Self { low, high, limit: None, is_upper: picture.is_upper };
        scale.limit = limit.map(|limit| scale.y(limit));
        Some(scale)
    }

    #[expect(clippy::cast_possible_truncation, reason = "a place on the picture")]
    fn y(&self, value: f64) -> f32 {
        let share = ((value - self.low) / (self.high - self.low)) as f32;
        let room = pixels(HEIGHT) - 2.0 * MARGIN;
        MARGIN + (1.0 - share.clamp(0.0, 1.0)) * room
    }

    /// The runs of points with no gap in them.
    fn runs(&self, picture: &Illustration) -> Vec<Vec<(f32, f32)>> {
        let steps = pixels(picture.values.len().saturating_sub(1).max(1));
        let mut runs: Vec<Vec<(f32, f32)>> = vec![Vec::new()];
        for (at, value) in picture.values.iter().enumerate() {
            let x = MARGIN + pixels(at) / steps * (pixels(WIDTH) - 2.0 * MARGIN);
            match value {
                Some(value) => {
                    if let Some(run) = runs.last_mut() {
                        run.push((x, self.y(*value)));
                    }
                }
                None => runs.push(Vec::new()),
            }
        }
        runs.retain(|run| !run.is_empty());
        runs
    }

    /// Red beyond the limit.
    fn color(&self, y: f32) -> Color {
        let is_beyond =
            self.limit.is_some_and(|limit| if self.is_upper { y <= limit } else { y >= limit });
        if is_beyond { RED } else { BLUE }
    }
}

#[expect(clippy::cast_precision_loss, reason = "pixels are few")]
fn pixels(count: usize) -> f32 {
    count as f32
}

/// Pixels with their colour and how much they cover, by rows.
struct Canvas {
    pixels: Vec<(Color, f32)>,
}

impl Canvas {
    fn new() -> Self {
        Self { pixels: vec![(BLUE, 0.0); WIDTH * HEIGHT] }
    }

    /// Lays a colour over a pixel.
    fn blend(&mut self, x: usize, y: usize, color: Color, alpha: f32) {
        if alpha <= 0.0 || x >= WIDTH {
            return;
        }
        let Some((under, covered)) = self.pixels.get_mut(y * WIDTH + x) else { return };
        let both = alpha + *covered * (1.0 - alpha);
        for (old, new) in under.iter_mut().zip(color) {
            *old = (new * alpha + *old * *covered * (1.0 - alpha)) / both;
        }
        *covered = both;
    }

    /// The area below a run, thinner towards the ground.
    fn fill(&mut self, run: &[(f32, f32)], scale: &Scale) {
        for x in columns(run, 0.0) {
            let Some(top) = height_at(run, pixels(x) + 0.5) else { continue };
            for y in 0..HEIGHT {
                let depth = pixels(y) + 0.5 - top;
                let share = 1.0 - (pixels(y) / pixels(HEIGHT)) * 0.8;
                let alpha = (depth + 0.5).clamp(0.0, 1.0) * 0.2 * share;
                self.blend(x, y, scale.color(pixels(y) + 0.5), alpha);
            }
        }
    }

    /// The limit.
    fn dashes(&mut self, limit: f32) {
        let half = 1.2;
        for x in (0..WIDTH).filter(|x| x % DASH.1 < DASH.0) {
            for y in 0..HEIGHT {
                let away = (pixels(y) + 0.5 - limit).abs();
                self.blend(x, y, RED, (half + 0.5 - away).clamp(0.0, 1.0) * 0.75);
            }
        }
    }

    fn line(&mut self, run: &[(f32, f32)], scale: &Scale) {
        if let [only] = run {
            self.dot(*only, scale.color(only.1));
        }
        for x in columns(run, LINE + 1.0) {
            let middle = pixels(x) + 0.5;
            let near = |pair: &&[(f32, f32)]| match pair {
                [a, b] => a.0 - LINE - 1.0 <= middle && middle <= b.0 + LINE + 1.0,
                _ => false,
            };
            let segments: Vec<&[(f32, f32)]> = run.windows(2).filter(near).collect();
            for y in 0..HEIGHT {
                let place = (middle, pixels(y) + 0.5);
                let away = segments.iter().filter_map(|pair| match pair {
                    [a, b] => Some(distance(place, *a, *b)),
                    _ => None,
                });
                let Some(away) = away.reduce(f32::min) else { continue };
                self.blend(x, y, scale.color(place.1), (LINE + 0.5 - away).clamp(0.0, 1.0));
            }
        }
    }

    fn dot(&mut self, (x, y): (f32, f32), color: Color) {
        for column in columns(&[(x, y)], DOT + 1.0) {
            for row in 0..HEIGHT {
                let away = (pixels(column) + 0.5 - x).hypot(pixels(row) + 0.5 - y);
                self.blend(column, row, color, (DOT + 0.5 - away).clamp(0.0, 1.0));
            }
        }
    }

    fn encode(&self) -> Option<Vec<u8>> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 255, rounded"
        )]
        let byte = |value: f32| value.round().clamp(0.0, 255.0) as u8;
        let bytes: Vec<u8> = self
            .pixels
            .iter()
            .flat_map(|([r, g, b], alpha)| [byte(*r), byte(*g), byte(*b), byte(alpha * 255.0)])
            .collect();
        let mut out = Vec::new();
        let (width, height) = (u32::try_from(WIDTH).ok()?, u32::try_from(HEIGHT).ok()?);
        let mut encoder = png::Encoder::new(&mut out, width, height);
        encoder.set_color(png::ColorType::Rgba);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::High);
        let mut writer = encoder.write_header().ok()?;
        writer.write_image_data(&bytes).ok()?;
        writer.finish().ok()?;
        Some(out)
    }
}

/// The columns of pixels that a run touches, with `more` on each side.
fn columns(run: &[(f32, f32)], more: f32) -> std::ops::Range<usize> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return 0..0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to it")]
    let column = |x: f32| x.clamp(0.0, pixels(WIDTH)) as usize;
    column(first.0 - more)..column(last.0 + more + 1.0)
}

/// How far down a run is at `x`.
fn height_at(run: &[(f32, f32)], x: f32) -> Option<f32> {
    run.windows(2).find_map(|pair| match pair {
        [a, b] if a.0 <= x && x <= b.0 => {
            let share = if b.0 > a.0 { (x - a.0) / (b.0 - a.0) } else { 0.0 };
            Some(a.1 + (b.1 - a.1) * share)
        }
        _ => None,
    })
}

/// How far a point is from the line between two others.
fn distance(p: (f32, f32), a: (f32, f32), b: (f32, f32)) -> f32 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let len = dx * dx + dy * dy;
    let share = ((p.0 - a.0) * dx + (p.1 - a.1) * dy) / len.max(f32::EPSILON);
    let share = share.clamp(0.0, 1.0);
    (p.0 - a.0 - dx * share).hypot(p.1 - a.1 - dy * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(values: &[Option<f64>], limit: Option<f64>) -> Illustration {
        Illustration {
            fingerprint: String::new(),
            start_ms: 0,
            step_ms: 1000,
            values: values.to_vec(),
            limit,
            is_upper: true,
            unit: None,
        }
    }

    #[test]
    fn letters_rise_with_the_value() {
        let rising: Vec<Option<f64>> = (0..160).map(|at| Some(f64::from(at))).collect();
        assert_eq!(letters(&picture(&rising, None)), "▁▂▂▃▃▄▄▄▅▅▆▆▇▇██");
        assert_eq!(letters(&picture(&[Some(1.0), None, Some(2.0)], None)), "▁·█");
        assert_eq!(letters(&picture(&[Some(5.0); 3], None)), "▄▄▄");
        assert_eq!(letters(&picture(&[None], None)), "");
    }

    /// The picture, decoded: the colour and cover of each pixel.
    fn drawn(picture: &Illustration) -> impl Fn(usize, usize) -> [u8; 4] + use<> {
        let bytes = png(picture).unwrap();
        assert!(bytes.len() < 40_000, "{}", bytes.len());
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (1084, 208));
        move |x, y| pixels[(y * WIDTH + x) * 4..][..4].try_into().unwrap()
    }

    #[test]
    fn the_line_is_red_beyond_the_limit_and_blue_before() {
        let rising: Vec<Option<f64>> = (0..=100).map(|at| Some(f64::from(at))).collect();
        let pixel = drawn(&picture(&rising, Some(50.0)));
        let [r, _, b, alpha] = pixel(276, 151);
        assert!(b > r && alpha > 200, "a quarter up it is blue");
        let [r, _, b, alpha] = pixel(808, 57);
        assert!(r > b && alpha > 200, "three quarters up it is red");
        assert_eq!(pixel(100, 20)[3], 0, "the ground is clear");
        assert!(pixel(4, 104)[3] > 100 && pixel(18, 104)[3] == 0, "the limit is dashed");
    }

    #[test]
    fn odd_courses_can_be_drawn() {
        let huge = [Some(f64::MAX), Some(f64::MIN)];
        for values in [&[Some(1.0), Some(1.0)][..], &[Some(1.0)], &[None, Some(0.0), None], &huge] {
            assert!(png(&picture(values, Some(0.0))).is_some());
            assert!(png(&picture(values, Some(f64::MAX))).is_some());
        }
        assert!(png(&picture(&[None, None], None)).is_none());
    }
}
