import "@streamr/player";
import { mount } from "svelte";
import Watch from "./Watch.svelte";

export const show = (target: HTMLElement, name: string) =>
  mount(Watch, { target, props: { name } });
