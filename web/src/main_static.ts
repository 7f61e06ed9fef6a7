/** Entry point of the static jam page, which needs no server. */

import { deviceBackend } from "./backend/device_backend";
import { untilIsolated } from "./offline/isolation";
import { startPage } from "./start";

await untilIsolated();
startPage((baseUrl, untilSettled) => deviceBackend(baseUrl, untilSettled));
