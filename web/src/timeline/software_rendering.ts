/** Whether the processor renders WebGL, as no GPU can. */

/** Names of renderers in software: Chrome's, Mesa's and Windows'. */
const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;
/** What Chrome and Safari say unless they are asked for more. */
const UNSPECIFIC = /^webkit webgl$/i;

export function isSoftwareName(renderer: string): boolean {
  return SOFTWARE.test(renderer);
}

/** Asks a canvas of its own. False if the browser has no WebGL, or does not say. */
export function isRenderedInSoftware(): boolean {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (gl === null) return false;
  const general = String(gl.getParameter(gl.RENDERER));
  const info = UNSPECIFIC.test(general) ? gl.getExtension("WEBGL_debug_renderer_info") : null; // Firefox warns of it
  const name = info ? String(gl.getParameter(info.UNMASKED_RENDERER_WEBGL)) : general;
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return isSoftwareName(name);
}
