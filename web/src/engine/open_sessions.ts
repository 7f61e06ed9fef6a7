/** Opens a checkpoint's networks with onnxruntime. */

import type { InferenceSession } from "onnxruntime-web/wasm";
import type { CheckpointFiles, PartFiles } from "./checkpoint";
import { OrtNetworks, type PartName, type Runtime, type Sessions } from "./ort_networks";
import type { Provider } from "./protocol";

/** Sessions for each part, opened one after another, as each needs memory for its weights twice. */
export async function openNetworks(runtime: Runtime, { parts, shape }: CheckpointFiles, provider: Provider): Promise<OrtNetworks> {
  const sessions: Partial<Record<PartName, InferenceSession>> = {};
  for (const part of Object.keys(parts) as PartName[]) {
    const { graph, weights } = parts[part] as PartFiles;
    sessions[part] = await runtime.InferenceSession.create(graph, {
      executionProviders: [provider],
      externalData: [...weights],
      graphOptimizationLevel: "all",
      logSeverityLevel: 3,
    });
  }
  return new OrtNetworks(runtime, sessions as Sessions, shape);
}
