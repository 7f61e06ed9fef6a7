/**
 * Initial phases for a magnitude spectrogram, estimated from its peaks in one pass.
 *
 * The formulas are derived in Python's `spectrogram/inversion/initial_phase.py`, and are computed in float32 as there.
 */

const f32 = Math.fround;

/** A peak is the maximum of this many bins to each side. */
const PEAK_RADIUS = 2;
/** Growth of a peak from one frame to the next, in nepers, above which it is an onset. */
const ONSET_GROWTH = 0.5;
/** Added to magnitudes before the logarithm. */
const SILENCE = f32(1e-9);
const FLATTEST = f32(-1e-6);
/** Its products with the square numbers, modulo 1, are evenly distributed. */
const GOLDEN_RATIO = 0.6180339887498949;

/** Magnitudes of a clip: the address of a bin's value is linear in the bin, so frames may be interleaved. */
export interface Magnitudes {
  readonly values: Float32Array;
  readonly numFrames: number;
  readonly numBins: number;
  /** Distance from one bin to the next. */
  readonly stride: number;
  /** Index of a frame's first bin. */
  start(frame: number): number;
}

export interface Sizes {
  readonly hop: number;
  readonly windowLength: number;
  readonly fftSize: number;
}

/** Phases that are linear in frequency inside each region of a frame. */
export interface RegionPhases {
  /** The index of each frame's first region, and at the end the number of all regions. */
  readonly firstRegions: Int32Array;
  /** The first bin after each region. */
  readonly ends: Int32Array;
  /** Phase in cycles: perBin · bin + atZero. */
  readonly perBin: Float32Array;
  readonly atZero: Float32Array;
}

export function initialPhases(magnitudes: Magnitudes, sizes: Sizes): RegionPhases {
  const { windowLength, fftSize } = sizes;
  const { bins, firstRegions } = findPeaks(magnitudes);
  const regions = regionsAround(bins, firstRegions, magnitudes.numBins);
  const partials = measured(magnitudes, bins, firstRegions, sizes);
  const parents = parentsOf(magnitudes, regions, bins, firstRegions, partials.isOnset);
  const { cyclesPerHop, delay } = partials;
  const count = bins.length;
  const advance = new Float32Array(count);
  const start = new Float32Array(count);
  const firstFrameEnd = firstRegions[1]!;
  for (let i = 0; i < count; i++) {
    const parent = parents[i]!;
    const bin = bins[i]!;
    const tilt = f32(f32(delay[parent]! * (bin - bins[parent]!)) / fftSize);
    advance[i] = f32(0.5 * f32(cyclesPerHop[i]! + cyclesPerHop[parent]!)) - tilt;
    // In the first frame, phases that are quadratic in frequency spread the energy over the frame.
    start[i] = i < firstFrameEnd ? fraction(bin * bin * GOLDEN_RATIO) : f32(-delay[i]! * bin) / fftSize;
  }
  const phase = sumsFromRoots(start, advance, parents, magnitudes.numFrames);
  const perBin = new Float32Array(count);
  const atZero = new Float32Array(count);
  const beforeCentre = Math.floor(windowLength / 2); // the FFT counts time from the frame's first sample
  for (let i = 0; i < count; i++) {
    perBin[i] = -f32(delay[i]! + beforeCentre) / fftSize;
    atZero[i] = fraction(f32(phase[i]! + f32(bins[i]! * f32(delay[i]! / fftSize))));
  }
  return { firstRegions, ends: regions, perBin, atZero };
}

interface Peaks {
  /** Bins of all peaks, frame by frame, at least one per frame. */
  readonly bins: Int32Array;
  /** The index of each frame's first peak, and at the end the number of peaks. */
  readonly firstRegions: Int32Array;
}

/** A frame's maximum is a peak, unless the frame is silent: then it is one region. */
function findPeaks({ values, numFrames, numBins, stride, start }: Magnitudes): Peaks {
  const firstRegions = new Int32Array(numFrames + 1);
  const found = new Int32Array(numFrames * numBins);
  let count = 0;
  for (let frame = 0; frame < numFrames; frame++) {
    firstRegions[frame] = count;
    const first = start(frame);
    for (let bin = 0, at = first; bin < numBins; bin++, at += stride) {
      const value = values[at]!;
      let isPeak = value > 0;
      for (let distance = 1; distance <= PEAK_RADIUS && isPeak; distance++) {
        isPeak = (bin < distance || value >= values[at - distance * stride]!)
          && (bin + distance >= numBins || value >= values[at + distance * stride]!);
      }
      if (isPeak) found[count++] = bin;
    }
    if (count === firstRegions[frame]) found[count++] = 0;
  }
  firstRegions[numFrames] = count;
  return { bins: found.slice(0, count), firstRegions };
}

/** The first bin after the region of each peak: half-way to the frame's next peak. */
function regionsAround(bins: Int32Array, firstRegions: Int32Array, numBins: number): Int32Array {
  const ends = new Int32Array(bins.length);
  for (let frame = 0; frame + 1 < firstRegions.length; frame++) {
    const last = firstRegions[frame + 1]! - 1;
    for (let i = firstRegions[frame]!; i < last; i++) ends[i] = (bins[i]! + bins[i + 1]! + 1) >> 1;
    ends[last] = numBins;
  }
  return ends;
}

interface Partials {
  /** Frequency, by a parabola through the log-magnitudes. */
  readonly cyclesPerHop: Float32Array;
  /** Time of the energy after the window's centre, in samples, from the growth of the magnitude. */
  readonly delay: Float32Array;
  /** Whether the peak doesn't depend on the frame before. */
  readonly isOnset: Uint8Array;
}

function measured(
  { values, numFrames, numBins, stride, start }: Magnitudes, bins: Int32Array, firstRegions: Int32Array,
  { hop, windowLength, fftSize }: Sizes,
): Partials {
  const cyclesPerHop = new Float32Array(bins.length);
  const delay = new Float32Array(bins.length);
  const isOnset = new Uint8Array(bins.length);
  const log = (index: number): number => f32(Math.log(f32(values[index]! + SILENCE)));
  const hopPerBin = f32(hop / fftSize);
  const perGrowth = f32(windowLength / (2 * Math.PI * hop));
  const perAngle = f32(windowLength / Math.PI);
  for (let frame = 0; frame < numFrames; frame++) {
    const isFirst = frame === 0;
    const isLast = frame === numFrames - 1;
    const here = start(frame);
    const before = isFirst ? here : start(frame - 1);
    const after = isLast ? here : start(frame + 1);
    for (let i = firstRegions[frame]!; i < firstRegions[frame + 1]!; i++) {
      const bin = bins[i]!;
      const at = bin * stride;
      const level = log(here + at);
      let offset = 0;
      if (bin > 0 && bin < numBins - 1) {
        const below = log(here + at - stride);
        const above = log(here + at + stride);
        const curvature = Math.min(FLATTEST, f32(f32(below - f32(2 * level)) + above));
        offset = Math.min(0.5, Math.max(-0.5, f32(f32(0.5 * f32(below - above)) / curvature)));
      }
      cyclesPerHop[i] = f32(bin + offset) * hopPerBin;
      const earlier = log(before + at);
      const growth = isFirst || isLast ? 0 : f32(0.5 * f32(log(after + at) - earlier));
      delay[i] = f32(Math.atan(f32(growth * perGrowth))) * perAngle;
      isOnset[i] = Number(isFirst || f32(level - earlier) > ONSET_GROWTH);
    }
  }
  return { cyclesPerHop, delay, isOnset };
}

/** A peak's parent is the region of its bin one frame earlier; an onset is its own parent. */
function parentsOf(
  { numFrames }: Magnitudes, ends: Int32Array, bins: Int32Array, firstRegions: Int32Array, isOnset: Uint8Array,
): Int32Array {
  const parents = new Int32Array(bins.length);
  for (let frame = 0; frame < numFrames; frame++) {
    let region = frame === 0 ? 0 : firstRegions[frame - 1]!;
    for (let i = firstRegions[frame]!; i < firstRegions[frame + 1]!; i++) {
      if (isOnset[i]) {
        parents[i] = i;
        continue;
      }
      while (ends[region]! <= bins[i]!) region++;
      parents[i] = region;
    }
  }
  return parents;
}

/**
 * For each node, its root's `start` plus the `advance` (modulo 1) of all nodes on the path. A root is its own parent.
 *
 * Pointer jumping: each round adds the partial sum of the ancestor at which a node's own partial sum ends.
 */
function sumsFromRoots(start: Float32Array, advance: Float32Array, parents: Int32Array, longestChain: number): Float32Array {
  let ancestors = parents;
  let sums = advance.map((value, i) => (parents[i] === i ? 0 : fraction(value)));
  for (let reach = 1; reach < longestChain; reach *= 2) {
    const [partial, from] = [sums, ancestors];
    sums = partial.map((value, i) => fraction(f32(value + partial[from[i]!]!)));
    ancestors = from.map((ancestor) => from[ancestor]!);
  }
  return sums.map((value, i) => value + start[ancestors[i]!]!);
}

function fraction(value: number): number {
  return value - Math.floor(value);
}
