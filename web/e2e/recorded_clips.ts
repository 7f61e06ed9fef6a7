/**
 * Clips that the gateway made once, for tests of the page that need many clips and no diffusion.
 *
 * The server converts them from audio, which takes no diffusion steps. They are real responses with a real PNG and
 * FLAC; the proxy sends them again, with progress lines before them, as a very fast server would.
 */

import { imageToAudioInput } from "../src/api/messages";
import { wavBlob } from "../src/audio/wav";
import type { Hertz, Seconds } from "../src/units";
import { tone } from "./signals";

const SAMPLE_RATE: Hertz = 44_100;
/** Two seconds instead of 5.12 s: a test that waits for the next clip waits less. */
export const SHORT_CLIP: Seconds = 2;
const PITCHES: readonly Hertz[] = [220, 330];

/** The result lines of one short clip per pitch. */
export async function recordShortClips(gateway: string): Promise<string[]> {
  const results: string[] = [];
  for (const pitch of PITCHES) {
    const wav = wavBlob([tone(pitch, SHORT_CLIP, SAMPLE_RATE)], SAMPLE_RATE);
    const dataUrl = `data:audio/wav;base64,${Buffer.from(await wav.arrayBuffer()).toString("base64")}`;
    results.push(await resultOf(gateway, imageToAudioInput({ kind: "audio", dataUrl })));
  }
  return results;
}

/** The result lines of seed images as clips of full length. */
export async function recordSeedClips(gateway: string, ids: readonly string[]): Promise<string[]> {
  const results: string[] = [];
  for (const id of ids) results.push(await resultOf(gateway, imageToAudioInput({ kind: "id", id })));
  return results;
}

/** The last line of a streamed response: the result. */
async function resultOf(gateway: string, input: object): Promise<string> {
  const response = await fetch(`${gateway}/run_inference/`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...input, stream: true }),
  });
  const result = (await response.text()).trim().split("\n").at(-1) ?? "";
  if (!result.includes('"audio"')) throw new Error(`status ${response.status}: ${result.slice(0, 300)}`);
  return result;
}
