/** Puts the page under its service worker. The first visit loads the page twice, as only then it is isolated. */

import type { Seconds } from "../units";

const SCRIPT = "./service_worker.js";
/** Set in this tab after the reload, so that there is no second one. */
const RELOADED = "riffusion-reloaded";
/** Without a service worker after this time, the page goes on without one. */
const TIMEOUT: Seconds = 20;

/**
 * Resolves when the page may be built: under the service worker, or without one where the browser has none. Never
 * resolves while the page is loaded again.
 */
export async function untilIsolated(): Promise<void> {
  if (!("serviceWorker" in navigator)) return;
  const registration = await navigator.serviceWorker.register(SCRIPT, { updateViaCache: "none" }).catch(() => null);
  if (registration === null) return;
  if (globalThis.crossOriginIsolated) {
    sessionStorage.removeItem(RELOADED);
    return;
  }
  if (sessionStorage.getItem(RELOADED) !== null || !(await isActive(registration))) return;
  sessionStorage.setItem(RELOADED, "yes");
  location.reload();
  await new Promise(() => undefined);
}

/** Waits until a service worker is active. False if its installation fails or takes too long. */
function isActive(registration: ServiceWorkerRegistration): Promise<boolean> {
  if (registration.active?.state === "activated") return Promise.resolve(true);
  const worker = registration.installing ?? registration.waiting ?? registration.active;
  return new Promise((resolve) => {
    const look = (): void => {
      if (worker?.state === "activated") resolve(true);
      if (worker?.state === "redundant") resolve(false);
    };
    worker?.addEventListener("statechange", look);
    look();
    setTimeout(() => resolve(false), 1000 * TIMEOUT);
  });
}
