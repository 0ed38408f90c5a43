import { mount } from "svelte";
import Home from "./Home.svelte";

export const show = (target: HTMLElement) => mount(Home, { target });
