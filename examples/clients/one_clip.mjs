// Text to an MP3 file, in Node 18 or newer: node one_clip.mjs "church bells" bells.mp3
// In a browser, `new Audio(answer.audio).play()` plays the same answer.
import { writeFile } from "node:fs/promises";

const url = `${process.env.RIFFUSION_URL ?? "http://127.0.0.1:3013"}/run_inference/`;
const [prompt, path] = process.argv.slice(2);

const response = await fetch(url, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ start: { prompt, seed: 42 }, mode: "txt2img", preset: "fast" }),
});
const answer = await response.json();
if (!response.ok) {
  console.error(`${response.status}: ${answer.error}`);
  process.exit(1);
}
await writeFile(path, Buffer.from(answer.audio.split(",")[1], "base64"));
console.log(`Wrote ${path} (${answer.duration_s} seconds)`);
