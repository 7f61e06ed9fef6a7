/** Ownership of resources that must be released: listeners, timers, textures, audio nodes. */

export type Disposer = () => void;

/**
 * Owns resources and releases all of them when it is disposed, the most recently added first.
 *
 * Scopes can be nested. A resource that is added to a closed scope is disposed immediately, so a resource
 * that arrives late (a download, a decoded image) cannot leak.
 */
export class Scope {
  private disposers = new Set<Disposer>();
  private closed = false;

  get isClosed(): boolean {
    return this.closed;
  }

  /** Calls `disposer` when the scope closes. The returned function calls it earlier; it is called only once. */
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

  /** Takes ownership of an object with a `dispose` method and returns the object. */
  own<T extends { dispose(): void }>(thing: T): T {
    this.add(() => thing.dispose());
    return thing;
  }

  /** A nested scope. It closes when this scope closes, if it was not closed before. */
  child(): Scope {
    const scope = new Scope();
    const forget = this.add(() => scope.dispose());
    scope.add(forget);
    return scope;
  }

  /** Adds an event listener that is removed when the scope closes. */
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

  /** Calls `callback` once after `seconds`, unless the scope closes or the returned function is called first. */
  after(seconds: number, callback: () => void): Disposer {
    let cancel: Disposer = () => undefined;
    const timer = setTimeout(() => {
      cancel();
      callback();
    }, seconds * 1000);
    cancel = this.add(() => clearTimeout(timer));
    return cancel;
  }

  /** Releases all resources. Later calls do nothing. */
  dispose(): void {
    if (this.closed) return;
    this.closed = true;
    for (const disposer of [...this.disposers].reverse()) disposer();
    this.disposers.clear();
  }
}
