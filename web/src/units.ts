/** Type aliases that name units. They are for readers: TypeScript treats all of them as `number`. */

/** A time or a duration in seconds. */
export type Seconds = number;
/** A duration in milliseconds, where a browser API uses milliseconds. */
export type Milliseconds = number;
/** A frequency in hertz. */
export type Hertz = number;
/** Beats per minute. */
export type Bpm = number;
/** A fraction from 0 to 1. */
export type Share = number;
/** A length on the page in CSS pixels. */
export type CssPixels = number;
