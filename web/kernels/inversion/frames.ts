/** Samples of eight frames ⇄ their spectra. */

const COMPLEX: usize = 32;
const BIN: usize = 64;

// Steps of transposing four vectors of four: (a0 a1 a2 a3), (b0 …), … become (a0 b0 c0 d0), (a1 …), … and back.

@inline
function lowHalves(a: v128, b: v128): v128 {
  return v128.shuffle<i32>(a, b, 0, 4, 1, 5);
}

@inline
function highHalves(a: v128, b: v128): v128 {
  return v128.shuffle<i32>(a, b, 2, 6, 3, 7);
}

@inline
function firstPairs(a: v128, b: v128): v128 {
  return v128.shuffle<i32>(a, b, 0, 1, 4, 5);
}

@inline
function secondPairs(a: v128, b: v128): v128 {
  return v128.shuffle<i32>(a, b, 2, 3, 6, 7);
}

/** Four samples of four frames, times the window: four vectors of frames, every second one at `to`. */
@inline
function gathered(to: usize, signal: usize, starts: usize, window: v128): void {
  const a = f32x4.mul(window, v128.load(signal + load<u32>(starts)));
  const b = f32x4.mul(window, v128.load(signal + load<u32>(starts, 4)));
  const c = f32x4.mul(window, v128.load(signal + load<u32>(starts, 8)));
  const d = f32x4.mul(window, v128.load(signal + load<u32>(starts, 12)));
  const abLow = lowHalves(a, b), cdLow = lowHalves(c, d);
  const abHigh = highHalves(a, b), cdHigh = highHalves(c, d);
  v128.store(to, firstPairs(abLow, cdLow));
  v128.store(to, secondPairs(abLow, cdLow), 32);
  v128.store(to, firstPairs(abHigh, cdHigh), 64);
  v128.store(to, secondPairs(abHigh, cdHigh), 96);
}

/**
 * Windowed samples of eight frames: frames 0–3 as real parts, frames 4–7 as imaginary parts, zeros up to `size`.
 *
 * @param out complex, `size` rows, and 3 more that may be overwritten
 * @param signal f32, and 3 more finite values
 * @param starts u32, bytes from `signal` to the first sample of each of the eight frames
 * @param window f32, `length` values, and zeros up to a multiple of four
 */
export function windowed(out: usize, signal: usize, starts: usize, window: usize, length: i32, size: i32): void {
  const end = window + <usize>length * 4;
  let to = out;
  for (; window < end; window += 16, signal += 16, to += 4 * COMPLEX) {
    const values = v128.load(window);
    gathered(to, signal, starts, values);
    gathered(to + 16, signal, starts + 16, values);
  }
  const last = out + <usize>size * COMPLEX;
  if (to < last) memory.fill(to, 0, last - to);
}

/**
 * The spectra and magnitudes of eight real signals from the transform Z of the first four plus i times the others:
 * A(k) = (Z(k) + Z*(n - k)) / 2 and B(k) = (Z(k) - Z*(n - k)) / 2i.
 *
 * @param z complex, `size` rows
 * @param spectrum, magnitudes `size / 2 + 1` bins
 */
export function split(z: usize, size: i32, spectrum: usize, magnitudes: usize): void {
  const half = f32x4.splat(0.5);
  let mirrored = z;
  for (let k = 0, numBins = size / 2 + 1; k < numBins; k++) {
    const zRe = f32x4.mul(half, v128.load(z)), zIm = f32x4.mul(half, v128.load(z, 16));
    const mRe = f32x4.mul(half, v128.load(mirrored)), mIm = f32x4.mul(half, v128.load(mirrored, 16));
    const aRe = f32x4.add(zRe, mRe), aIm = f32x4.sub(zIm, mIm);
    const bRe = f32x4.add(zIm, mIm), bIm = f32x4.sub(mRe, zRe);
    v128.store(spectrum, aRe);
    v128.store(spectrum, aIm, 16);
    v128.store(spectrum, bRe, 32);
    v128.store(spectrum, bIm, 48);
    v128.store(magnitudes, f32x4.sqrt(f32x4.add(f32x4.mul(aRe, aRe), f32x4.mul(aIm, aIm))));
    v128.store(magnitudes, f32x4.sqrt(f32x4.add(f32x4.mul(bRe, bRe), f32x4.mul(bIm, bIm))), 16);
    mirrored = k == 0 ? z + <usize>(size - 1) * COMPLEX : mirrored - COMPLEX;
    z += COMPLEX;
    spectrum += BIN;
    magnitudes += 32;
  }
}

/**
 * The opposite of `split`, with re and im exchanged, so that `transform` computes the inverse: its imaginary parts are
 * the samples of frames 0–3, its real parts those of frames 4–7, both times `size`.
 *
 * Imaginary parts at 0 Hz and at half the sample rate are left out. Bins from `numBins` on are silent.
 *
 * @param z complex, `size` rows
 * @param numBins at most `size / 2 + 1`
 */
export function merged(spectrum: usize, numBins: i32, z: usize, size: i32): void {
  v128.store(z, v128.load(spectrum, 32));
  v128.store(z, v128.load(spectrum), 16);
  const paired = min(numBins, (size + 1) / 2);
  let low = z + COMPLEX, high = z + <usize>(size - 1) * COMPLEX;
  for (let k = 1; k < paired; k++) {
    spectrum += BIN;
    const aRe = v128.load(spectrum), aIm = v128.load(spectrum, 16);
    const bRe = v128.load(spectrum, 32), bIm = v128.load(spectrum, 48);
    v128.store(low, f32x4.add(aIm, bRe));
    v128.store(low, f32x4.sub(aRe, bIm), 16);
    v128.store(high, f32x4.sub(bRe, aIm));
    v128.store(high, f32x4.add(aRe, bIm), 16);
    low += COMPLEX;
    high -= COMPLEX;
  }
  if (paired < numBins) {
    v128.store(low, v128.load(spectrum, BIN + 32));
    v128.store(low, v128.load(spectrum, BIN), 16);
    low += COMPLEX;
  }
  if (low <= high) memory.fill(low, 0, high + COMPLEX - low);
}

/** Adds four samples of four frames to a signal. */
@inline
function scattered(signal: usize, starts: usize, a: v128, b: v128, c: v128, d: v128): void {
  const abLow = lowHalves(a, b), cdLow = lowHalves(c, d);
  const abHigh = highHalves(a, b), cdHigh = highHalves(c, d);
  let to = signal + load<u32>(starts);
  v128.store(to, f32x4.add(v128.load(to), firstPairs(abLow, cdLow)));
  to = signal + load<u32>(starts, 4);
  v128.store(to, f32x4.add(v128.load(to), secondPairs(abLow, cdLow)));
  to = signal + load<u32>(starts, 8);
  v128.store(to, f32x4.add(v128.load(to), firstPairs(abHigh, cdHigh)));
  to = signal + load<u32>(starts, 12);
  v128.store(to, f32x4.add(v128.load(to), secondPairs(abHigh, cdHigh)));
}

/** A row of an inverse transform, times `factor`, and then times the frames' weights and the window. */
@inline
function weighted(at: usize, factor: v128, weights: v128, window: v128): v128 {
  return f32x4.mul(f32x4.mul(v128.load(at), factor), f32x4.mul(weights, window));
}

/**
 * Adds the windowed samples of eight frames to a signal.
 *
 * @param z complex, the transform of `merged`, and 3 more finite rows
 * @param signal f32, and 3 more values, which are kept
 * @param starts, window as in `windowed`
 * @param weights f32, the weights of the eight frames; 0 for what isn't a frame
 * @param scale a factor for all of them
 */
export function overlapAdded(
  z: usize, signal: usize, starts: usize, weights: usize, window: usize, length: i32, scale: f32,
): void {
  const factor = f32x4.splat(scale);
  const first = v128.load(weights), second = v128.load(weights, 16);
  for (const end = window + <usize>length * 4; window < end; window += 16, signal += 16, z += 4 * COMPLEX) {
    const w0 = v128.load_splat<f32>(window), w1 = v128.load_splat<f32>(window + 4);
    const w2 = v128.load_splat<f32>(window + 8), w3 = v128.load_splat<f32>(window + 12);
    scattered(
      signal, starts, weighted(z + 16, factor, first, w0), weighted(z + 48, factor, first, w1),
      weighted(z + 80, factor, first, w2), weighted(z + 112, factor, first, w3),
    );
    scattered(
      signal, starts + 16, weighted(z, factor, second, w0), weighted(z + 32, factor, second, w1),
      weighted(z + 64, factor, second, w2), weighted(z + 96, factor, second, w3),
    );
  }
}
