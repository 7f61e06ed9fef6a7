/** Units in types: TypeScript doesn't tell them apart, readers do. */

/** A time or a duration in seconds. */
export type Seconds = number;
/** A duration in milliseconds, where the platform counts so. */
export type Milliseconds = number;
/** A frequency. */
export type Hertz = number;
/** Beats per minute. */
export type Bpm = number;
/** A share from 0 to 1. */
export type Share = number;
