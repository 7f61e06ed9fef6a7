/** Decodes the PNGs of the repository, with 8 bits per channel and no interlacing; Node has no decoder of images. */

import { inflateSync } from "node:zlib";
import type { Pixels } from "../../src/engine/pixels";

const CHANNELS: Record<number, number> = { 0: 1, 2: 3, 4: 2, 6: 4 };

/** A PNG as RGBA. */
export async function decodePng(file: Blob): Promise<Pixels> {
  const data = Buffer.from(await file.arrayBuffer());
  if (data.toString("latin1", 1, 4) !== "PNG") throw new Error("is not a PNG");
  const parts: Buffer[] = [];
  let [width, height, channels] = [0, 0, 0];
  for (let at = 8; at < data.length; at += 12 + data.readUInt32BE(at)) {
    const body = data.subarray(at + 8, at + 8 + data.readUInt32BE(at));
    const kind = data.toString("latin1", at + 4, at + 8);
    if (kind === "IDAT") parts.push(body);
    if (kind !== "IHDR") continue;
    [width, height, channels] = [body.readUInt32BE(0), body.readUInt32BE(4), CHANNELS[body[9]!] ?? 0];
    if (body[8] !== 8 || body[12] !== 0 || channels === 0) throw new Error("this kind of PNG is not known");
  }
  const rows = unfiltered(inflateSync(Buffer.concat(parts)), width * channels, height, channels);
  const rgba = new Uint8Array(width * height * 4);
  for (let pixel = 0; pixel < width * height; pixel++) {
    const [first = 0, second = 0, third = 0, fourth = 0] = rows.subarray(pixel * channels, (pixel + 1) * channels);
    const colour = channels < 3 ? [first, first, first] : [first, second, third];
    rgba.set([...colour, channels === 2 ? second : channels === 4 ? fourth : 255], 4 * pixel);
  }
  return { width, height, data: rgba };
}

/** Undoes the filters of rows: each byte was stored as its difference to a prediction. */
function unfiltered(filtered: Uint8Array, length: number, height: number, distance: number): Uint8Array {
  const rows = new Uint8Array(length * height);
  for (let row = 0; row < height; row++) {
    const kind = filtered[row * (length + 1)]!;
    for (let i = 0; i < length; i++) {
      const at = row * length + i;
      const left = i >= distance ? rows[at - distance]! : 0;
      const up = row > 0 ? rows[at - length]! : 0;
      const corner = row > 0 && i >= distance ? rows[at - length - distance]! : 0;
      const predicted = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][kind]!;
      rows[at] = filtered[row * (length + 1) + 1 + i]! + predicted;
    }
  }
  return rows;
}

function paeth(left: number, up: number, corner: number): number {
  const guess = left + up - corner;
  const [toLeft, toUp, toCorner] = [Math.abs(guess - left), Math.abs(guess - up), Math.abs(guess - corner)];
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}
