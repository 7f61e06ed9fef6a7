/** Files that `build/gzipped_files.ts` compresses. */
declare module "*?gzipped" {
  /** The file's address. */
  const url: string;
  export default url;
}
