/** Starts the jam page: reads the settings from the link and builds the page. */

import "./ui/style.css";
import "./ui/edit/edit.css";
import type { Backend } from "./backend/backend";
import { Session } from "./jam/session";
import { jamFromQuery, withKnownImages } from "./link/link";
import { Scope } from "./scope";
import { defaultsFor } from "./settings/distilled";
import { SAMPLE_PROMPTS } from "./settings/sample_prompts";
import { ACCENT_LOUDNESS, colourOf, cssColour } from "./timeline/colour";
import { Page } from "./ui/page";
import type { Seconds } from "./units";

/** Random seeds are below this number, so that links stay short. */
const RANDOM_SEED_LIMIT = 10_000;
/** The first request waits so long for what the checkpoint can do; then it is made as for any other. */
const INFO_TIMEOUT: Seconds = 2;

function randomPrompt(): string {
  return SAMPLE_PROMPTS[Math.floor(Math.random() * SAMPLE_PROMPTS.length)] ?? "church bells";
}

function randomSeed(): bigint {
  return BigInt(Math.floor(Math.random() * RANDOM_SEED_LIMIT));
}

/**
 * Builds the page.
 *
 * @param open makes the backend, from the page's address and a promise that its requests wait for: a request that is
 *   made before the settings fit the checkpoint would be made again
 */
export function startPage(open: (baseUrl: string, untilSettled: () => Promise<unknown>) => Backend): void {
  const scope = new Scope();
  const { settings, walk, problems } = jamFromQuery(location.search, randomPrompt, randomSeed);
  let areSettingsFinal: Promise<unknown> = Promise.resolve();
  const backend = open(new URL("./", location.href).href, () => areSettingsFinal);
  const session = scope.own(new Session(backend, walk, settings));

  document.documentElement.style.setProperty("--accent", cssColour(colourOf(ACCENT_LOUDNESS)));
  const page = new Page(scope, session, backend);
  const showProblems = (problems: readonly string[]): void => {
    if (problems.length > 0) page.showNotice(`Parts of this link could not be read: ${problems.join("; ")}.`);
  };
  showProblems(problems);
  void backend.fetchLibrary().then((library) => {
    const known = withKnownImages(session.conductor.settings, library);
    if (known.problems.length > 0) session.conductor.adjust(known.settings);
    showProblems(known.problems);
    page.setLibrary(library);
  });
  const fitting = backend.fetchDistillation().then((distillation) => {
    if (distillation === null) return;
    session.distillation = distillation;
    const defaults = defaultsFor(distillation, settings.negativePrompt);
    const { scheduler, numInferenceSteps } = jamFromQuery(location.search, randomPrompt, randomSeed, defaults).settings;
    session.adjust({ ...session.conductor.settings, scheduler, numInferenceSteps });
  });
  areSettingsFinal = Promise.race([fitting, new Promise<void>((resolve) => void scope.after(INFO_TIMEOUT, resolve))]);
}
