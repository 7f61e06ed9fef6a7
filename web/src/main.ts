/** The page of the jam: reads the link, and puts everything together. */

import "./ui/style.css";
import { Client } from "./api/client";
import { fetchLibrary } from "./api/library";
import { Session } from "./jam/session";
import { jamFromQuery, withKnownImages } from "./link/link";
import { Scope } from "./scope";
import { SAMPLE_PROMPTS } from "./settings/sample_prompts";
import { ACCENT_LOUDNESS, colourOf, cssColour } from "./timeline/colour";
import { Page } from "./ui/page";

/** Seeds by chance stay short, for links. */
const SEEDS = 10_000;

function randomPrompt(): string {
  return SAMPLE_PROMPTS[Math.floor(Math.random() * SAMPLE_PROMPTS.length)] ?? "church bells";
}

function randomSeed(): number {
  return Math.floor(Math.random() * SEEDS);
}

const scope = new Scope();
const baseUrl = new URL("./", location.href).href;
const { settings, walk, problems } = jamFromQuery(location.search, randomPrompt, randomSeed);
const client = new Client(`${baseUrl}run_inference/`);
const session = scope.own(new Session(client, walk, settings));

document.documentElement.style.setProperty("--accent", cssColour(colourOf(ACCENT_LOUDNESS)));
const page = new Page(scope, session, client, baseUrl);
sayProblems(problems);
void fetchLibrary(baseUrl).then((library) => {
  const known = withKnownImages(session.conductor.settings, library);
  if (known.problems.length > 0) session.conductor.adjust(known.settings);
  sayProblems(known.problems);
  page.setLibrary(library);
});

function sayProblems(problems: readonly string[]): void {
  if (problems.length > 0) page.say(`This link was not understood entirely: ${problems.join("; ")}.`);
}
