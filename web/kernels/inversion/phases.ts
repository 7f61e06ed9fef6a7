/** Spectra from magnitudes and phases. */

const TURN: f32 = 6.283185307179586;
const QUARTER: f64 = 1.5707963267948966;
const QUARTERS_PER_RADIAN: f64 = 0.6366197723675814;

/**
 * Phases of one frame, which are linear in frequency inside each region: (per bin · bin + at zero) · 2π radians.
 *
 * @param phases values; only those of the frame `lane`, 0 to 7, are written
 * @param ends i32, the first bin after each region; `perBin`, `atZero` f32, the regions' phases in cycles
 */
export function regionPhases(
  phases: usize, lane: i32, ends: usize, perBin: usize, atZero: usize, numRegions: i32,
): void {
  let bin = 0;
  let out = phases + <usize>lane * 4;
  for (let region = 0; region < numRegions; region++) {
    const end = load<i32>(ends), slope = load<f32>(perBin), offset = load<f32>(atZero);
    for (; bin < end; bin++, out += 32) store<f32>(out, (slope * <f32>bin + offset) * TURN);
    ends += 4;
    perBin += 4;
    atZero += 4;
  }
}

/** Two angles as the nearest quarter turns (as integral f64) and what remains of them, at most π / 4. */
@inline
function nearestQuarters(angles: v128): v128 {
  return f64x2.nearest(f64x2.mul(angles, f64x2.splat(QUARTERS_PER_RADIAN)));
}

@inline
function remainders(angles: v128, quarters: v128): v128 {
  return f64x2.sub(angles, f64x2.mul(quarters, f64x2.splat(QUARTER)));
}

/**
 * Stores magnitude · cos and magnitude · sin of four angles.
 *
 * The polynomials are those of Cephes' `sinf` and `cosf` (S. L. Moshier, 1989), with errors below 1e-7 for |x| ≤ π / 4.
 */
@inline
function storePolar(out: usize, magnitudes: v128, angles: v128): void {
  const low = f64x2.promote_low_f32x4(angles);
  const high = f64x2.promote_low_f32x4(v128.shuffle<i32>(angles, angles, 2, 3, 2, 3));
  const lowQuarters = nearestQuarters(low), highQuarters = nearestQuarters(high);
  const x = v128.shuffle<i32>(
    f32x4.demote_f64x2_zero(remainders(low, lowQuarters)),
    f32x4.demote_f64x2_zero(remainders(high, highQuarters)), 0, 1, 4, 5,
  );
  const quarters = v128.shuffle<i32>(
    i32x4.trunc_sat_f64x2_s_zero(lowQuarters), i32x4.trunc_sat_f64x2_s_zero(highQuarters), 0, 1, 4, 5,
  );
  const square = f32x4.mul(x, x);
  let sin = f32x4.add(f32x4.mul(f32x4.splat(-1.9515295891e-4), square), f32x4.splat(8.3321608736e-3));
  sin = f32x4.add(f32x4.mul(sin, square), f32x4.splat(-1.6666654611e-1));
  sin = f32x4.add(f32x4.mul(f32x4.mul(sin, square), x), x);
  let cos = f32x4.add(f32x4.mul(f32x4.splat(2.443315711809948e-5), square), f32x4.splat(-1.388731625493765e-3));
  cos = f32x4.add(f32x4.mul(cos, square), f32x4.splat(4.166664568298827e-2));
  cos = f32x4.mul(f32x4.mul(cos, square), square);
  cos = f32x4.add(f32x4.sub(cos, f32x4.mul(f32x4.splat(0.5), square)), f32x4.splat(1));
  // Odd quarters exchange sine and cosine; the signs follow from the quadrant.
  const one = i32x4.splat(1);
  const isOdd = i32x4.eq(v128.and(quarters, one), one);
  const sineSign = i32x4.shl(v128.and(quarters, i32x4.splat(2)), 30);
  const cosineSign = i32x4.shl(v128.and(i32x4.add(quarters, one), i32x4.splat(2)), 30);
  const cosine = v128.xor(v128.bitselect(sin, cos, isOdd), cosineSign);
  const sine = v128.xor(v128.bitselect(cos, sin, isOdd), sineSign);
  v128.store(out, f32x4.mul(magnitudes, cosine));
  v128.store(out, f32x4.mul(magnitudes, sine), 16);
}

/** The spectrum of magnitudes and phases in radians, `numBins` of each. */
export function polar(magnitudes: usize, phases: usize, spectrum: usize, numBins: i32): void {
  for (const end = magnitudes + <usize>numBins * 32; magnitudes < end; magnitudes += 16, phases += 16) {
    storePolar(spectrum, v128.load(magnitudes), v128.load(phases));
    spectrum += 32;
  }
}
