/** The seed images and masks that the static page has: those of `data/manifest.json`. */

import manifest from "../../../data/manifest.json";

const idsOf = (kind: string): readonly string[] => manifest.images.filter((image) => image.kind === kind).map(({ id }) => id);

export const SEED_IMAGES = idsOf("seed_image");
export const MASKS = idsOf("mask");
