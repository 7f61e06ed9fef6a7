/** Finds out when the GPU has finished a frame, without waiting for it. */

import type { Milliseconds } from "../units";

/** A frame that takes longer is given up: the page was in the background, or has lost its GPU. */
const PAUSE: Milliseconds = 5000;

export class GpuWork {
  private fence: WebGLSync | null = null;
  private begin: Milliseconds = 0;

  constructor(private readonly gl: WebGL2RenderingContext) {}

  get isUnfinished(): boolean {
    return this.fence !== null;
  }

  /** Called after the commands of a frame that began at `time`. */
  watch(time: Milliseconds): void {
    this.gl.deleteSync(this.fence);
    this.fence = this.gl.fenceSync(this.gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    this.gl.flush();
    this.begin = time;
  }

  /** How long the frame took, once after it has been finished; null before, and for a frame that is given up. */
  finished(time: Milliseconds): Milliseconds | null {
    const { gl, fence } = this;
    if (fence === null) return null;
    const cost = time - this.begin;
    const isDone = gl.getSyncParameter(fence, gl.SYNC_STATUS) === gl.SIGNALED;
    if (!isDone && cost < PAUSE) return null;
    gl.deleteSync(fence);
    this.fence = null;
    return cost < PAUSE ? cost : null;
  }
}
