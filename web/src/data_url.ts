/** Data URLs and what they hold. */

/** The bytes behind a URL, a data URL also, with their type. */
export async function blobFromUrl(dataUrl: string): Promise<Blob> {
  return (await fetch(dataUrl)).blob();
}

/** The data URL of a blob. */
export function dataUrlFromBlob(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error ?? new Error("the file cannot be read"));
    reader.readAsDataURL(blob);
  });
}
