/** Keeps the results that were used last. */
export class Cache<V> {
  private readonly entries = new Map<string, V>();

  /** @param size how many are kept */
  constructor(private readonly size: number) {}

  /** The value of a key, made by `make` if it is not kept. A failure is not kept. */
  async get(key: string, make: () => Promise<V>): Promise<V> {
    const value = this.entries.get(key) ?? (await make());
    this.entries.delete(key);
    this.entries.set(key, value);
    for (const oldest of this.entries.keys()) {
      if (this.entries.size <= this.size) break;
      this.entries.delete(oldest);
    }
    return value;
  }
}
