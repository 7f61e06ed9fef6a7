/** The settings for making clips. */

import type { Backend } from "../backend/backend";
import type { Session } from "../jam/session";
import type { Scope } from "../scope";
import { isInstant, withInstant } from "../settings/distilled";
import { MAX_PROMPT_CHARACTERS, RANGES, type Settings, isScheduler } from "../settings/settings";
import { h } from "./dom";
import { type Field, selectField, sliderField, switchField, textField } from "./fields";
import type { Panel } from "./sidebar";

const BY_CHECKPOINT = "";

/** Settings of the page, which are not part of the jam. */
export interface Preferences {
  isMotionReduced: boolean;
}

export class SoundPanel implements Panel {
  readonly name = "Sound";
  readonly element: HTMLElement;
  private readonly fields: ((settings: Settings) => void)[] = [];
  private readonly showCalm: () => void;
  private readonly instant: Field<boolean>;

  /** @param onPreferences called after a change of `preferences` */
  constructor(
    scope: Scope,
    private readonly session: Session,
    { schedulers, gpu }: Backend,
    preferences: Preferences,
    onPreferences: () => void,
  ) {
    const percent = (value: number): string => `${Math.round(100 * value)} %`;
    const slider = (key: keyof typeof RANGES, label: string, hint: string, text: (value: number) => string): HTMLElement => {
      const field = sliderField(scope, label, hint, RANGES[key], text, (value) => this.change({ [key]: value }));
      this.fields.push((settings) => field.show(settings[key]));
      return field.element;
    };
    const negative = textField(scope, "Negative prompt", "Sounds to avoid.", MAX_PROMPT_CHARACTERS, (negativePrompt) =>
      this.change({ negativePrompt }),
    );
    this.fields.push((settings) => negative.show(settings.negativePrompt));
    const options = [{ value: BY_CHECKPOINT, text: "checkpoint default" }, ...schedulers.map((name) => ({ value: name, text: name }))];
    const scheduler = selectField(scope, "Scheduler", options, (name) => this.change({ scheduler: isScheduler(name) ? name : null }));
    this.fields.push((settings) => scheduler.show(settings.scheduler ?? BY_CHECKPOINT));
    this.instant = switchField(scope, "Instant: few steps, without a negative prompt", (isOn) =>
      this.session.adjust(withInstant(this.session.conductor.settings, isOn)),
    );
    const onGpu = gpu && switchField(scope, "Draw with the GPU, if it is faster here and computes the same", (isOn) => gpu.set(isOn));
    onGpu?.show(gpu?.isOn ?? false);
    const calm = switchField(scope, "Reduced motion", (isMotionReduced) => {
      preferences.isMotionReduced = isMotionReduced;
      onPreferences();
    });
    this.showCalm = () => calm.show(preferences.isMotionReduced);
    this.element = h(
      "div",
      { class: "panel" },
      slider("denoising", "Denoising", "How much each clip differs from the seed loop. Lower values keep its beat.", percent),
      slider("guidance", "Guidance", "How closely the music follows the prompt.", (value) => value.toFixed(1)),
      slider("alphaStep", "Change per clip", "How far each clip moves towards the next prompt or variation.", percent),
      slider("numInferenceSteps", "Quality", "Denoising steps per clip. More steps sound cleaner and take longer.", (value) => (value === 1 ? "1 step" : `${value} steps`)),
      this.instant.element,
      negative.element,
      scheduler.element,
      onGpu?.element ?? null,
      calm.element,
    );
  }

  update(): void {
    for (const show of this.fields) show(this.session.conductor.settings);
    const { conductor, distillation } = this.session;
    this.instant.element.hidden = !distillation?.isGuidedSampling; // otherwise there is no choice
    this.instant.show(isInstant(conductor.settings, distillation));
    this.showCalm();
  }

  private change(settings: Partial<Settings>): void {
    this.session.adjust({ ...this.session.conductor.settings, ...settings });
  }
}
