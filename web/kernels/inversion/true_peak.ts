/** Peaks of the continuous signal between samples. */

const NUM_PHASES: usize = 7;

/**
 * The largest magnitude of the interpolated signal between each sample and the one before it.
 *
 * @param signal f32, `numTaps / 2` samples of silence, the samples, and as much silence again and 3 values more
 * @param kernels f32, for each of `numTaps` taps the weights of the 7 phases between two samples
 * @param count number of results, a multiple of four
 * @param out f32, `count` magnitudes
 */
export function peaksAround(signal: usize, kernels: usize, numTaps: i32, count: i32, out: usize): void {
  for (const end = out + <usize>count * 4; out < end; out += 16, signal += 16) {
    let a = f32x4.splat(0), b = f32x4.splat(0), c = f32x4.splat(0), d = f32x4.splat(0);
    let e = f32x4.splat(0), f = f32x4.splat(0), g = f32x4.splat(0);
    let at = signal, kernel = kernels;
    for (let tap = 0; tap < numTaps; tap++) {
      const samples = v128.load(at);
      a = f32x4.add(a, f32x4.mul(samples, v128.load_splat<f32>(kernel)));
      b = f32x4.add(b, f32x4.mul(samples, v128.load_splat<f32>(kernel, 4)));
      c = f32x4.add(c, f32x4.mul(samples, v128.load_splat<f32>(kernel, 8)));
      d = f32x4.add(d, f32x4.mul(samples, v128.load_splat<f32>(kernel, 12)));
      e = f32x4.add(e, f32x4.mul(samples, v128.load_splat<f32>(kernel, 16)));
      f = f32x4.add(f, f32x4.mul(samples, v128.load_splat<f32>(kernel, 20)));
      g = f32x4.add(g, f32x4.mul(samples, v128.load_splat<f32>(kernel, 24)));
      at += 4;
      kernel += 4 * NUM_PHASES;
    }
    const ab = f32x4.max(f32x4.abs(a), f32x4.abs(b)), cd = f32x4.max(f32x4.abs(c), f32x4.abs(d));
    const ef = f32x4.max(f32x4.abs(e), f32x4.abs(f));
    v128.store(out, f32x4.max(f32x4.max(ab, cd), f32x4.max(ef, f32x4.abs(g))));
  }
}
