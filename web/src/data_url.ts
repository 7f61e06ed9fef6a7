/** Conversion between blobs and data URLs. */

/** Fetches a URL, which may be a data URL, as a blob with its media type. */
export async function blobFromUrl(dataUrl: string): Promise<Blob> {
  return (await fetch(dataUrl)).blob();
}

/** Encodes a blob as a data URL. */
export function dataUrlFromBlob(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error ?? new Error("the file cannot be read"));
    reader.readAsDataURL(blob);
  });
}
