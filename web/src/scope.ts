/** A tree of things to dispose of: listeners, timers, textures, audio nodes. */

export type Disposer = () => void;

/**
 * Owns resources and gives all of them back at once, the last one first.
 *
 * A scope may own further scopes. Adding to a scope that is closed disposes at once, so whatever
 * finishes late (a download, a decoded image) cannot leak.
 */
export class Scope {
  private disposers = new Set<Disposer>();
  private closed = false;

  get isClosed(): boolean {
    return this.closed;
  }

  /** Calls `disposer` when the scope closes. The result calls it earlier, and only once. */
  add(disposer: Disposer): Disposer {
    if (this.closed) {
      disposer();
      return () => undefined;
    }
    const once = (): void => {
      if (this.disposers.delete(once)) disposer();
    };
    this.disposers.add(once);
    return once;
  }

  /** Owns something with a `dispose` method, and returns it. */
  own<T extends { dispose(): void }>(thing: T): T {
    this.add(() => thing.dispose());
    return thing;
  }

  /** A scope that closes with this one, at the latest. */
  child(): Scope {
    const scope = new Scope();
    const forget = this.add(() => scope.dispose());
    scope.add(forget);
    return scope;
  }

  /** Listens until the scope closes. */
  listen<K extends keyof HTMLElementEventMap>(
    target: EventTarget,
    type: K,
    listener: (event: HTMLElementEventMap[K]) => void,
    options?: AddEventListenerOptions,
  ): void;
  listen(
    target: EventTarget,
    type: string,
    listener: (event: Event) => void,
    options?: AddEventListenerOptions,
  ): void;
  listen(
    target: EventTarget,
    type: string,
    listener: (event: never) => void,
    options?: AddEventListenerOptions,
  ): void {
    target.addEventListener(type, listener as EventListener, options);
    this.add(() => target.removeEventListener(type, listener as EventListener, options));
  }

  /** Calls `callback` every `seconds` until the scope closes. */
  every(seconds: number, callback: () => void): void {
    const timer = setInterval(callback, seconds * 1000);
    this.add(() => clearInterval(timer));
  }

  /** Calls `callback` once after `seconds`, unless the scope closes or the result is called. */
  after(seconds: number, callback: () => void): Disposer {
    let cancel: Disposer = () => undefined;
    const timer = setTimeout(() => {
      cancel();
      callback();
    }, seconds * 1000);
    cancel = this.add(() => clearTimeout(timer));
    return cancel;
  }

  /** Gives back everything; later calls do nothing. */
  dispose(): void {
    if (this.closed) return;
    this.closed = true;
    for (const disposer of [...this.disposers].reverse()) disposer();
    this.disposers.clear();
  }
}
