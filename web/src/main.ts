/** Entry point of the jam page of a `riffusion serve`. */

import { serverBackend } from "./backend/server_backend";
import { startPage } from "./start";

startPage((baseUrl, untilSettled) => serverBackend(baseUrl, untilSettled));
