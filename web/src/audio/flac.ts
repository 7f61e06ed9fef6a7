/**
 * Encodes FLAC with libFLAC, which is compiled to WebAssembly.
 *
 *     "fLaC"   stream info (38 bytes)   other metadata   frames …
 *
 * The encoder writes the stream info first, when it doesn't know the frame sizes and the checksum yet. Writers of
 * files put them in at the end, and so does this.
 */

import type { CompressionLevel, Flac, StreamMetadata } from "libflacjs";
import { type FileTags, flacBlocks } from "./file_tags";
import type { PcmFormat, PcmSamples } from "./pcm";

/** libFLAC's own default: higher levels save about 1 % and take twice the time. */
const LEVEL: CompressionLevel = 5;
const MARKER_BYTES = 4;
/** The stream info and the header of its block (RFC 9639, 8.1 and 8.2). */
const INFO_BYTES = 38;
/** Where the stream info has the smallest and the largest frame, of 24 bits each, and the MD5 checksum of 16 bytes. */
const FRAME_SIZES_AT = 8;
const CHECKSUM_AT = 22;

/** What libFLAC encodes: integers of 16 or 24 bits. */
export function canBeFlac({ bits, isFloat }: PcmFormat): boolean {
  return !isFloat && bits <= 24;
}

export class FlacEncoder {
  private readonly id: number;
  private readonly chunks: Uint8Array<ArrayBuffer>[] = [];
  private info: StreamMetadata | null = null;

  /**
   * @param flac the library, once it is ready
   * @param tags comments and pictures of the file
   * @throws Error if libFLAC can't encode this format
   */
  constructor(private readonly flac: Flac, format: PcmFormat, numFrames: number, private readonly tags: FileTags = []) {
    const { sampleRate, numChannels, bits } = format;
    this.id = canBeFlac(format) ? flac.create_libflac_encoder(sampleRate, numChannels, bits, LEVEL, numFrames) : 0;
    if (this.id === 0) throw new Error(`FLAC has no ${bits} bits at ${sampleRate} Hz`);
    const state = flac.init_encoder_stream(
      this.id,
      (data) => void this.chunks.push(data),
      (info) => (this.info = info ?? null),
    );
    if (state !== 0) throw new Error(`libFLAC cannot encode ${sampleRate} Hz: state ${state}`);
  }

  /** Encodes more samples: one array per channel, in the format's own type. */
  write(channels: readonly PcmSamples[]): void {
    const samples = channels.map((channel) => Int32Array.from(channel));
    if (!this.flac.FLAC__stream_encoder_process(this.id, samples, samples[0]?.length ?? 0)) throw new Error("libFLAC did not encode these samples");
  }

  /** The bytes of the whole file. Nothing can be written afterwards. */
  finish(): readonly Uint8Array<ArrayBuffer>[] {
    const isDone = this.flac.FLAC__stream_encoder_finish(this.id);
    this.flac.FLAC__stream_encoder_delete(this.id);
    if (!isDone || this.info === null) throw new Error("libFLAC did not finish the file");
    const [marker, header, own, ...frames] = this.chunks;
    if (marker?.length !== MARKER_BYTES || header?.length !== INFO_BYTES) throw new Error("libFLAC began the file in an unexpected way");
    complete(header, this.info);
    return [marker, header, ...flacBlocks(this.tags, own ? [own] : []), ...frames];
  }
}

/** Puts into a stream info what is known at the end. */
function complete(header: Uint8Array<ArrayBuffer>, { min_framesize, max_framesize, md5sum }: StreamMetadata): void {
  [min_framesize, max_framesize].forEach((size, i) => header.set([size >> 16, size >> 8, size], FRAME_SIZES_AT + 3 * i));
  header.set((md5sum.match(/../g) ?? []).map((byte) => parseInt(byte, 16)), CHECKSUM_AT);
}
