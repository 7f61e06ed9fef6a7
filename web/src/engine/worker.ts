import type { EngineCommand, EngineEvent } from "./protocol";

onmessage = ({ data }: MessageEvent<EngineCommand>) => {
  if (data.kind === "load") postMessage({ kind: "unloadable", message: "There is no engine yet." } satisfies EngineEvent);
};
