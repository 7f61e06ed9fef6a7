/** Clips from a `riffusion serve`. */

import { Client, SILENCE_TIMEOUT } from "../api/client";
import { fetchDistillation, fetchLibrary, isEndpointRemote } from "../api/library";
import { SCHEDULERS } from "../settings/settings";
import type { Backend } from "./backend";

/**
 * @param baseUrl address of the gateway, with a slash at its end
 * @param untilSettled requests wait for this: one that is made before the settings are final would be made again
 */
export function serverBackend(baseUrl: string, untilSettled: () => Promise<unknown>): Backend {
  const client = new Client(`${baseUrl}run_inference/`, SILENCE_TIMEOUT, async (...request) => {
    await untilSettled();
    return fetch(...request);
  });
  return {
    client,
    editClient: client,
    maker: "server",
    schedulers: SCHEDULERS,
    savedFormats: ["mp3", "flac"],
    gpu: null,
    preparation: { text: null, isReady: true, isProblem: false },
    onChange: () => undefined,
    fetchLibrary: () => fetchLibrary(baseUrl),
    fetchDistillation: () => fetchDistillation(baseUrl),
    mayCostMoney: () => isEndpointRemote(baseUrl),
  };
}
