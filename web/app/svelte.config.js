/** No preprocessing: Svelte 5 reads TypeScript in components itself. */
export default {};
