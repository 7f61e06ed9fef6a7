/** Opens a checkpoint's networks with onnxruntime. */

import type { InferenceSession } from "onnxruntime-web/wasm";
import type { CheckpointFiles } from "./checkpoint";
import { OrtNetworks, type PartName, type Runtime } from "./ort_networks";
import type { Provider } from "./protocol";

const PARTS: readonly PartName[] = ["text_encoder", "unet", "vae_encoder", "vae_decoder"];

/**
 * Networks in sessions, opened one after another, as each needs memory for its weights twice.
 *
 * @param parts those that will be used
 */
export async function openNetworks(
  runtime: Runtime, files: CheckpointFiles, provider: Provider, parts: readonly PartName[] = PARTS,
): Promise<OrtNetworks> {
  const sessions: Partial<Record<PartName, InferenceSession>> = {};
  for (const part of parts) {
    const { graph, weights } = files.parts[part];
    sessions[part] = await runtime.InferenceSession.create(graph, {
      executionProviders: [provider],
      externalData: [...weights],
      graphOptimizationLevel: "all",
      logSeverityLevel: 3,
    });
  }
  return new OrtNetworks(runtime, sessions, files.shape);
}
