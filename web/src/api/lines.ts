/** Lines of text out of chunks that break anywhere, also within a character. */
export class LineSplitter {
  private readonly decoder = new TextDecoder();
  private rest = "";

  /** The lines that `chunk` completes, without blank ones. */
  push(chunk: Uint8Array): string[] {
    return this.split(this.decoder.decode(chunk, { stream: true }));
  }

  /** What is left at the end of the stream, if it is a line. */
  end(): string[] {
    return this.split(`${this.decoder.decode()}\n`);
  }

  private split(text: string): string[] {
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop() ?? "";
    return lines.map((line) => line.trim()).filter(Boolean);
  }
}
