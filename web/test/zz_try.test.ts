import { readFileSync } from "node:fs";
import { test } from "vitest";
import { MelInverter } from "../src/engine/inversion/inverter";
import { Kernels } from "../src/engine/inversion/kernels";
import { melFrames } from "../src/engine/inversion/mel_frames";
const params = JSON.parse(readFileSync("../data/demo-checkpoint/spectrogram_params.json", "utf8"));
const read = (name: string): Float32Array => { const b = readFileSync(name); return new Float32Array(b.buffer.slice(b.byteOffset, b.byteOffset + b.length)); };
test("try", () => {
  const t0 = performance.now();
  const inverter = new MelInverter(new Kernels(), melFrames(params));
  console.log("setup", performance.now() - t0);
  for (const name of ["agile", "agile", "agile", "marim", "motorway", "og_beat", "vibes"]) {
    const amp = read(`/tmp/b2/${name}.amp`), ref = read(`/tmp/b2/${name}.wav32`);
    const c0 = process.cpuUsage();
    const w = inverter.waveform(amp);
    const dt = (process.cpuUsage(c0).user) / 1000;
    let e = 0, p = 0, m = 0;
    for (let i = 0; i < ref.length; i++) { e += (w[i]! - ref[i]!) ** 2; p += ref[i]! ** 2; m = Math.max(m, Math.abs(ref[i]!)); }
    console.log(name, w.length, ref.length, dt.toFixed(0) + " ms", "psnr", (10 * Math.log10(m * m / (e / ref.length))).toFixed(1), "snr", (10 * Math.log10(p / e)).toFixed(1));
    require("node:fs").writeFileSync(`/tmp/b2/${name}.ts32`, Buffer.from(w.buffer));
  }
});
