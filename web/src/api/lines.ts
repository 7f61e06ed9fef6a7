/** Splits a byte stream into lines of text. Chunks may end anywhere, even inside a UTF-8 character. */
export class LineSplitter {
  private readonly decoder = new TextDecoder();
  private rest = "";

  /** Adds a chunk and returns the lines that it completes, without blank lines. */
  push(chunk: Uint8Array): string[] {
    return this.split(this.decoder.decode(chunk, { stream: true }));
  }

  /** Returns the last line at the end of the stream, unless it is blank. */
  end(): string[] {
    return this.split(`${this.decoder.decode()}\n`);
  }

  private split(text: string): string[] {
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop() ?? "";
    return lines.map((line) => line.trim()).filter(Boolean);
  }
}
