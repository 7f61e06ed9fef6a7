/**
 * Products with a sparse matrix whose rows have their weights side by side, and gains from bins to bands and back.
 *
 * A matrix is i32 `rows`, the first column and the number of weights of each row, and f32 `weights`, those of all rows.
 */

const VALUES: usize = 32;

/** For each row of the matrix, the weighted sum of `values`: values → values, `numRows` of them. */
export function weightedSums(values: usize, rows: usize, weights: usize, numRows: i32, out: usize): void {
  for (let row = 0; row < numRows; row++) {
    let at = values + <usize>load<i32>(rows) * VALUES;
    let first = f32x4.splat(0), second = f32x4.splat(0);
    for (let count = load<i32>(rows, 4); count > 0; count--) {
      const weight = v128.load_splat<f32>(weights);
      first = f32x4.add(first, f32x4.mul(weight, v128.load(at)));
      second = f32x4.add(second, f32x4.mul(weight, v128.load(at, 16)));
      weights += 4;
      at += VALUES;
    }
    v128.store(out, first);
    v128.store(out, second, 16);
    rows += 8;
    out += VALUES;
  }
}

/** For each mel band, target / (weighted sum of the bins' magnitudes + epsilon). */
export function bandGains(
  magnitudes: usize, rows: usize, weights: usize, numBands: i32, target: usize, epsilon: f32, out: usize,
): void {
  weightedSums(magnitudes, rows, weights, numBands, out);
  const small = f32x4.splat(epsilon);
  for (const end = out + <usize>numBands * VALUES; out < end; out += 16, target += 16) {
    v128.store(out, f32x4.div(v128.load(target), f32x4.add(v128.load(out), small)));
  }
}

/** values *= factors, `count` rows of each. */
export function multiplied(values: usize, factors: usize, count: i32): void {
  for (const end = values + <usize>count * VALUES; values < end; values += 16, factors += 16) {
    v128.store(values, f32x4.mul(v128.load(values), v128.load(factors)));
  }
}

/** spectrum *= gains, `numBins` of each. */
export function scaled(spectrum: usize, gains: usize, numBins: i32): void {
  for (const end = gains + <usize>numBins * VALUES; gains < end; gains += 16, spectrum += 32) {
    const gain = v128.load(gains);
    v128.store(spectrum, f32x4.mul(v128.load(spectrum), gain));
    v128.store(spectrum, f32x4.mul(v128.load(spectrum, 16), gain), 16);
  }
}

/** spectrum *= a complex number per bin, f32 re and im. */
export function rotated(spectrum: usize, rotation: usize, numBins: i32): void {
  for (const end = rotation + <usize>numBins * 8; rotation < end; rotation += 8) {
    const c = v128.load_splat<f32>(rotation), s = v128.load_splat<f32>(rotation + 4);
    for (let part = 0; part < 2; part++, spectrum += 32) {
      const re = v128.load(spectrum), im = v128.load(spectrum, 16);
      v128.store(spectrum, f32x4.sub(f32x4.mul(re, c), f32x4.mul(im, s)));
      v128.store(spectrum, f32x4.add(f32x4.mul(re, s), f32x4.mul(im, c)), 16);
    }
  }
}
