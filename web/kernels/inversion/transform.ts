/**
 * The discrete Fourier transform of any length, of four signals in the lanes of vectors.
 *
 * Stockham's algorithm, with decimation in frequency: a stage of radix r with `remaining` = r · m values and the stride
 * s reads x[q + s (p + m j)], j < r, and writes their transform of r values times a twiddle factor,
 *
 *   y[q + s (r p + k)] = exp(-2πi p k / remaining) · Σⱼ exp(-2πi j k / r) x[q + s (p + m j)]
 *
 * for p < m and q < s. Results are in order, so nothing is rearranged (C. Van Loan, "Computational Frameworks for the
 * Fast Fourier Transform", 1992, section 1.7).
 */

const COMPLEX: usize = 32;
const SINE_60: f32 = 0.8660254037844386;
const COS_72: f32 = 0.30901699437494745;
const COS_144: f32 = -0.8090169943749475;
const SIN_72: f32 = 0.9510565162951535;
const SIN_144: f32 = 0.5877852522924731;

/**
 * Transforms `length` complex rows; the inverse follows by exchanging re and im before and after.
 *
 * @param source is overwritten, like `spare`, which is as long
 * @param factors i32, the stages' radices; their product is `length`
 * @param twiddles f32: for each stage, cos and sin of 2π p k / remaining by p and k = 1 to r - 1; before those of a
 *   radix above 5, cos and sin of 2π j / r by j
 * @returns where the result is: `source` or `spare`
 */
export function transform(source: usize, spare: usize, length: i32, factors: usize, twiddles: usize): usize {
  let from = source, to = spare, remaining = length, stride = 1;
  while (remaining > 1) {
    const radix = load<i32>(factors);
    factors += 4;
    const m = remaining / radix;
    if (radix == 4) radix4(from, to, m, stride, twiddles);
    else if (radix == 3) radix3(from, to, m, stride, twiddles);
    else if (radix == 5) radix5(from, to, m, stride, twiddles);
    else if (radix == 2) radix2(from, to, m, stride, twiddles);
    else {
      const roots = twiddles;
      twiddles += <usize>radix * 8;
      oddRadix(from, to, m, stride, radix, roots, twiddles);
    }
    twiddles += <usize>((radix - 1) * m) * 8;
    remaining = m;
    stride *= radix;
    const written = to;
    to = from;
    from = written;
  }
  return from;
}

/** Stores (re, im) times the conjugate of (c, s). */
@inline
function storeTurned(to: usize, re: v128, im: v128, c: v128, s: v128): void {
  v128.store(to, f32x4.add(f32x4.mul(re, c), f32x4.mul(im, s)));
  v128.store(to, f32x4.sub(f32x4.mul(im, c), f32x4.mul(re, s)), 16);
}

@inline
function store(to: usize, re: v128, im: v128): void {
  v128.store(to, re);
  v128.store(to, im, 16);
}

@inline
function cosine(twiddles: usize, k: usize): v128 {
  return v128.load_splat<f32>(twiddles + 8 * k);
}

@inline
function sine(twiddles: usize, k: usize): v128 {
  return v128.load_splat<f32>(twiddles + 8 * k + 4);
}

function radix2(from: usize, to: usize, m: i32, stride: i32, twiddles: usize): void {
  const step = <usize>stride * COMPLEX, half = <usize>m * step;
  for (let p = 0; p < m; p++) {
    const c = cosine(twiddles, 0), s = sine(twiddles, 0);
    for (const end = from + step; from < end; from += COMPLEX, to += COMPLEX) {
      const aRe = v128.load(from), aIm = v128.load(from, 16);
      const bRe = v128.load(from + half), bIm = v128.load(from + half, 16);
      store(to, f32x4.add(aRe, bRe), f32x4.add(aIm, bIm));
      storeTurned(to + step, f32x4.sub(aRe, bRe), f32x4.sub(aIm, bIm), c, s);
    }
    to += step;
    twiddles += 8;
  }
}

function radix3(from: usize, to: usize, m: i32, stride: i32, twiddles: usize): void {
  const step = <usize>stride * COMPLEX, third = <usize>m * step;
  const half = f32x4.splat(0.5), sin60 = f32x4.splat(SINE_60);
  for (let p = 0; p < m; p++) {
    const c1 = cosine(twiddles, 0), s1 = sine(twiddles, 0);
    const c2 = cosine(twiddles, 1), s2 = sine(twiddles, 1);
    for (const end = from + step; from < end; from += COMPLEX, to += COMPLEX) {
      const aRe = v128.load(from), aIm = v128.load(from, 16);
      const bRe = v128.load(from + third), bIm = v128.load(from + third, 16);
      const cRe = v128.load(from + 2 * third), cIm = v128.load(from + 2 * third, 16);
      const sumRe = f32x4.add(bRe, cRe), sumIm = f32x4.add(bIm, cIm);
      const difRe = f32x4.mul(sin60, f32x4.sub(bRe, cRe)), difIm = f32x4.mul(sin60, f32x4.sub(bIm, cIm));
      const midRe = f32x4.sub(aRe, f32x4.mul(half, sumRe)), midIm = f32x4.sub(aIm, f32x4.mul(half, sumIm));
      store(to, f32x4.add(aRe, sumRe), f32x4.add(aIm, sumIm));
      storeTurned(to + step, f32x4.add(midRe, difIm), f32x4.sub(midIm, difRe), c1, s1);
      storeTurned(to + 2 * step, f32x4.sub(midRe, difIm), f32x4.add(midIm, difRe), c2, s2);
    }
    to += 2 * step;
    twiddles += 16;
  }
}

function radix4(from: usize, to: usize, m: i32, stride: i32, twiddles: usize): void {
  const step = <usize>stride * COMPLEX, quarter = <usize>m * step;
  for (let p = 0; p < m; p++) {
    const c1 = cosine(twiddles, 0), s1 = sine(twiddles, 0);
    const c2 = cosine(twiddles, 1), s2 = sine(twiddles, 1);
    const c3 = cosine(twiddles, 2), s3 = sine(twiddles, 2);
    for (const end = from + step; from < end; from += COMPLEX, to += COMPLEX) {
      const aRe = v128.load(from), aIm = v128.load(from, 16);
      const bRe = v128.load(from + quarter), bIm = v128.load(from + quarter, 16);
      const cRe = v128.load(from + 2 * quarter), cIm = v128.load(from + 2 * quarter, 16);
      const dRe = v128.load(from + 3 * quarter), dIm = v128.load(from + 3 * quarter, 16);
      const acRe = f32x4.add(aRe, cRe), acIm = f32x4.add(aIm, cIm);
      const bdRe = f32x4.add(bRe, dRe), bdIm = f32x4.add(bIm, dIm);
      const difRe = f32x4.sub(aRe, cRe), difIm = f32x4.sub(aIm, cIm);
      const turnRe = f32x4.sub(bIm, dIm), turnIm = f32x4.sub(dRe, bRe); // -i (b - d)
      store(to, f32x4.add(acRe, bdRe), f32x4.add(acIm, bdIm));
      storeTurned(to + step, f32x4.add(difRe, turnRe), f32x4.add(difIm, turnIm), c1, s1);
      storeTurned(to + 2 * step, f32x4.sub(acRe, bdRe), f32x4.sub(acIm, bdIm), c2, s2);
      storeTurned(to + 3 * step, f32x4.sub(difRe, turnRe), f32x4.sub(difIm, turnIm), c3, s3);
    }
    to += 3 * step;
    twiddles += 24;
  }
}

function radix5(from: usize, to: usize, m: i32, stride: i32, twiddles: usize): void {
  const step = <usize>stride * COMPLEX, fifth = <usize>m * step;
  const cos72 = f32x4.splat(COS_72), cos144 = f32x4.splat(COS_144);
  const sin72 = f32x4.splat(SIN_72), sin144 = f32x4.splat(SIN_144);
  for (let p = 0; p < m; p++) {
    const c1 = cosine(twiddles, 0), s1 = sine(twiddles, 0), c2 = cosine(twiddles, 1), s2 = sine(twiddles, 1);
    const c3 = cosine(twiddles, 2), s3 = sine(twiddles, 2), c4 = cosine(twiddles, 3), s4 = sine(twiddles, 3);
    for (const end = from + step; from < end; from += COMPLEX, to += COMPLEX) {
      const aRe = v128.load(from), aIm = v128.load(from, 16);
      const bRe = v128.load(from + fifth), bIm = v128.load(from + fifth, 16);
      const cRe = v128.load(from + 2 * fifth), cIm = v128.load(from + 2 * fifth, 16);
      const dRe = v128.load(from + 3 * fifth), dIm = v128.load(from + 3 * fifth, 16);
      const eRe = v128.load(from + 4 * fifth), eIm = v128.load(from + 4 * fifth, 16);
      const beRe = f32x4.add(bRe, eRe), beIm = f32x4.add(bIm, eIm);
      const cdRe = f32x4.add(cRe, dRe), cdIm = f32x4.add(cIm, dIm);
      const beDifRe = f32x4.sub(bRe, eRe), beDifIm = f32x4.sub(bIm, eIm);
      const cdDifRe = f32x4.sub(cRe, dRe), cdDifIm = f32x4.sub(cIm, dIm);
      store(to, f32x4.add(aRe, f32x4.add(beRe, cdRe)), f32x4.add(aIm, f32x4.add(beIm, cdIm)));
      const evenRe1 = f32x4.add(aRe, f32x4.add(f32x4.mul(cos72, beRe), f32x4.mul(cos144, cdRe)));
      const evenIm1 = f32x4.add(aIm, f32x4.add(f32x4.mul(cos72, beIm), f32x4.mul(cos144, cdIm)));
      const oddRe1 = f32x4.add(f32x4.mul(sin72, beDifRe), f32x4.mul(sin144, cdDifRe));
      const oddIm1 = f32x4.add(f32x4.mul(sin72, beDifIm), f32x4.mul(sin144, cdDifIm));
      storeTurned(to + step, f32x4.add(evenRe1, oddIm1), f32x4.sub(evenIm1, oddRe1), c1, s1);
      storeTurned(to + 4 * step, f32x4.sub(evenRe1, oddIm1), f32x4.add(evenIm1, oddRe1), c4, s4);
      const evenRe2 = f32x4.add(aRe, f32x4.add(f32x4.mul(cos144, beRe), f32x4.mul(cos72, cdRe)));
      const evenIm2 = f32x4.add(aIm, f32x4.add(f32x4.mul(cos144, beIm), f32x4.mul(cos72, cdIm)));
      const oddRe2 = f32x4.sub(f32x4.mul(sin144, beDifRe), f32x4.mul(sin72, cdDifRe));
      const oddIm2 = f32x4.sub(f32x4.mul(sin144, beDifIm), f32x4.mul(sin72, cdDifIm));
      storeTurned(to + 2 * step, f32x4.add(evenRe2, oddIm2), f32x4.sub(evenIm2, oddRe2), c2, s2);
      storeTurned(to + 3 * step, f32x4.sub(evenRe2, oddIm2), f32x4.add(evenIm2, oddRe2), c3, s3);
    }
    to += 4 * step;
    twiddles += 32;
  }
}

/** Any odd radix. Values j and r - j have the same cosine and opposite sines, so they are taken together. */
function oddRadix(from: usize, to: usize, m: i32, stride: i32, radix: i32, roots: usize, twiddles: usize): void {
  const step = <usize>stride * COMPLEX, part = <usize>m * step;
  const half = (radix - 1) / 2;
  for (let p = 0; p < m; p++) {
    for (const end = from + step; from < end; from += COMPLEX, to += COMPLEX) {
      const aRe = v128.load(from), aIm = v128.load(from, 16);
      let sumRe = aRe, sumIm = aIm;
      for (let j = 1; j < radix; j++) {
        const at = from + <usize>j * part;
        sumRe = f32x4.add(sumRe, v128.load(at));
        sumIm = f32x4.add(sumIm, v128.load(at, 16));
      }
      store(to, sumRe, sumIm);
      for (let k = 1; k <= half; k++) {
        let evenRe = aRe, evenIm = aIm;
        let oddRe = f32x4.splat(0), oddIm = f32x4.splat(0);
        let index = 0;
        for (let j = 1; j <= half; j++) {
          index += k;
          if (index >= radix) index -= radix;
          const c = cosine(roots, index), s = sine(roots, index);
          const low = from + <usize>j * part, high = from + <usize>(radix - j) * part;
          const lowRe = v128.load(low), lowIm = v128.load(low, 16);
          const highRe = v128.load(high), highIm = v128.load(high, 16);
          evenRe = f32x4.add(evenRe, f32x4.mul(c, f32x4.add(lowRe, highRe)));
          evenIm = f32x4.add(evenIm, f32x4.mul(c, f32x4.add(lowIm, highIm)));
          oddRe = f32x4.add(oddRe, f32x4.mul(s, f32x4.sub(lowRe, highRe)));
          oddIm = f32x4.add(oddIm, f32x4.mul(s, f32x4.sub(lowIm, highIm)));
        }
        const other = radix - k;
        storeTurned(
          to + <usize>k * step, f32x4.add(evenRe, oddIm), f32x4.sub(evenIm, oddRe),
          cosine(twiddles, k - 1), sine(twiddles, k - 1),
        );
        storeTurned(
          to + <usize>other * step, f32x4.sub(evenRe, oddIm), f32x4.add(evenIm, oddRe),
          cosine(twiddles, other - 1), sine(twiddles, other - 1),
        );
      }
    }
    to += <usize>(radix - 1) * step;
    twiddles += <usize>(radix - 1) * 8;
  }
}
