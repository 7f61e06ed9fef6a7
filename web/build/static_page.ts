/**
 * What `vite build --mode static` adds: the page's own entry, the service worker, the files that make clips, and a list
 * of all files with their hashes, which the service worker and the page are given.
 */

import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { type Plugin, build } from "vite";
import { LIST_GLOBAL, LIST_NAME, type PageFile, totalBytes } from "../src/offline/file_list";

export interface StaticPageOptions {
  /** Folder of an exported checkpoint; see docs/light.md. */
  readonly checkpoint: string;
  /** Folder with `manifest.json`, `seed_images/` and `masks/`. */
  readonly library: string;
  readonly outDir: string;
}

/** Largest size of the folder. */
const MAX_BYTES = 60e6;
const SERVICE_WORKER = "service_worker.js";
const WEB = fileURLToPath(new URL("..", import.meta.url));
const SERVICE_WORKER_SOURCE = join(WEB, "src/offline/service_worker.ts");
/** Browsers run no modules of pages that were opened as files. */
const NO_SERVER = `
    <script>if (location.protocol === "file:") document.write("This page needs a file server. In its folder, run: python3 -m http.server");</script>`;
/** Of a checkpoint; its graphs and weights are named by its manifest. Not all checkpoints are distilled, or say what they are. */
const CHECKPOINT_FILES = ["manifest.json", "spectrogram_params.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer.json"];
const OPTIONAL_FILES = ["distillation.json", "README.md"];
/** All other files are the page's. */
const GROUPS: readonly (readonly [RegExp, PageFile["group"]])[] = [
  [/^about|\.(md|txt)$/, "extra"],
  [/\/ort-[^/]*asyncify[^/]*\.gzip$/, "option"],
  [/^checkpoint\/|\/ort-[^/]*\.gzip$/, "engine"],
];

/** Adds to a build what makes its page work without a server. */
export function staticPage({ checkpoint, library, outDir }: StaticPageOptions): Plugin {
  return {
    name: "static-page",
    transformIndexHtml: { order: "pre", handler: (html) => html.replace("/src/main.ts", "/src/main_static.ts").replace("</noscript>", `</noscript>${NO_SERVER}`) },
    async closeBundle() {
      await buildServiceWorker(outDir);
      copyCheckpoint(checkpoint, join(outDir, "checkpoint"));
      writeFileSync(join(outDir, "licences.txt"), licences());
      for (const folder of ["seed_images", "masks"]) cpSync(join(library, folder), join(outDir, folder), { recursive: true });
      const files = list(outDir);
      const bytes = totalBytes(files);
      if (bytes > MAX_BYTES) throw new Error(`${outDir} has ${megabytes(bytes)}, and at most ${megabytes(MAX_BYTES)} are allowed; export the checkpoint with --precision w8`);
      writeFileSync(join(outDir, LIST_NAME), JSON.stringify(files));
      const withList: PageFile = { ...fileAt(outDir, LIST_NAME), group: "page" };
      const script = join(outDir, SERVICE_WORKER);
      writeFileSync(script, `self.${LIST_GLOBAL}=${JSON.stringify([...files, withList])};\n${readFileSync(script, "utf8")}`);
      const download = totalBytes(files.filter(({ group }) => group === "engine"));
      console.log(`Wrote ${relative(process.cwd(), outDir)}: ${megabytes(bytes)}, of which ${megabytes(download)} make the clips`);
    },
  };
}

/** The service worker is one file without imports, whose address never changes: it controls the folder that it is in. */
async function buildServiceWorker(outDir: string): Promise<void> {
  await build({
    configFile: false,
    publicDir: false,
    logLevel: "warn",
    build: {
      outDir,
      emptyOutDir: false,
      target: "es2022",
      rollupOptions: { input: SERVICE_WORKER_SOURCE, output: { format: "iife", entryFileNames: SERVICE_WORKER } },
    },
  });
}

function copyCheckpoint(from: string, to: string): void {
  const path = join(from, "manifest.json");
  if (!existsSync(path)) throw new Error(`${from} has no manifest.json; name an exported checkpoint (riffusion export)`);
  const { parts } = JSON.parse(readFileSync(path, "utf8")) as { parts: Record<string, { graph: string; weights: string[] }> };
  const networks = new Set(Object.values(parts).flatMap(({ graph, weights }) => [graph, ...weights]));
  const optional = OPTIONAL_FILES.filter((name) => existsSync(join(from, name)));
  for (const name of [...CHECKPOINT_FILES, ...optional, ...networks]) {
    if (!existsSync(join(from, name))) throw new Error(`${from} lacks ${name}; export the checkpoint again (riffusion export)`);
    mkdirSync(dirname(join(to, name)), { recursive: true });
    cpSync(join(from, name), join(to, name));
  }
}

/** The licences of this project and of the packages that the page holds, which ask for that. */
function licences(): string {
  const { dependencies } = JSON.parse(readFileSync(join(WEB, "package.json"), "utf8")) as { dependencies: Record<string, string> };
  const own = readFileSync(join(WEB, "../LICENSE"), "utf8");
  const others = Object.entries(dependencies).map(([name, version]) => {
    const folder = join(WEB, "node_modules", name);
    const described = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { license: string; repository: string | { url: string } };
    const { license, repository } = described;
    const text = existsSync(join(folder, "LICENSE")) ? `\n\n${readFileSync(join(folder, "LICENSE"), "utf8")}` : "";
    return `${name} ${version}: ${license}, ${typeof repository === "string" ? repository : repository.url}${text}`;
  });
  return [own, ...others].map((text) => text.trim()).join(`\n\n${"-".repeat(80)}\n\n`) + "\n";
}

function list(folder: string): PageFile[] {
  const names = readdirSync(folder, { recursive: true }) as string[];
  const isListed = (name: string): boolean => statSync(join(folder, name)).isFile() && ![LIST_NAME, SERVICE_WORKER].includes(name);
  return names.map((name) => name.replaceAll("\\", "/")).filter(isListed).sort().map((name) => fileAt(folder, name));
}

function fileAt(folder: string, path: string): PageFile {
  const content = readFileSync(join(folder, path));
  const group = GROUPS.find(([pattern]) => pattern.test(path))?.[1] ?? "page";
  return { path, bytes: content.length, sha256: createHash("sha256").update(content).digest("hex"), group };
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
