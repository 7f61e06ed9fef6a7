import { defineConfig } from "vitest/config";
import tests from "./vitest.config";

/** The server and the browser of the tests, for pictures of the page. */
export default defineConfig({ test: { ...tests.test, include: ["e2e/screenshots.ts"] } });
