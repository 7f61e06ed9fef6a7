/** What happens to the waveform between two passes. Signals have `count` f32; up to 3 more may be overwritten. */

/** values /= divisors. */
export function divided(values: usize, divisors: usize, count: i32): void {
  for (const end = values + <usize>count * 4; values < end; values += 16, divisors += 16) {
    v128.store(values, f32x4.div(v128.load(values), v128.load(divisors)));
  }
}

/**
 * A step towards the projection `sums / norm`, and the next estimate:
 *
 *   step = relaxation · sums / norm + (1 - relaxation) · estimate
 *   estimate = (1 + momentum) · step - momentum · last
 *   last = step
 */
export function advanced(
  estimate: usize, last: usize, sums: usize, norm: usize, count: i32, relaxation: f32, momentum: f32, onePlusMomentum: f32,
): void {
  const gamma = f32x4.splat(relaxation), rest = f32x4.splat(1 - relaxation);
  const alpha = f32x4.splat(momentum), onePlusAlpha = f32x4.splat(onePlusMomentum);
  for (const end = estimate + <usize>count * 4; estimate < end; estimate += 16) {
    const projection = f32x4.div(v128.load(sums), v128.load(norm));
    const step = f32x4.add(f32x4.mul(projection, gamma), f32x4.mul(rest, v128.load(estimate)));
    v128.store(estimate, f32x4.sub(f32x4.mul(onePlusAlpha, step), f32x4.mul(alpha, v128.load(last))));
    v128.store(last, step);
    last += 16;
    sums += 16;
    norm += 16;
  }
}
