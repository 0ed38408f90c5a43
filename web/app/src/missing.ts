import { mount } from "svelte";
import Missing from "./Missing.svelte";

export const show = (target: HTMLElement) => mount(Missing, { target });
